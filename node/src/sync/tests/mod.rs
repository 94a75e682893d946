//! Tests of the decisions about one Pod: `stories` and `endings` tell what must happen, `properties` what must never.

mod endings;
mod properties;
mod stories;
mod world;
