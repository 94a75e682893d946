//! Tests of the decisions about one Pod: `stories`, `endings` and `troubles` tell what must happen, `properties` what
//! must never.

mod endings;
mod properties;
mod stories;
mod troubles;
mod world;
