//! `kontiki apply`: makes the cluster hold what manifests describe.

use std::path::PathBuf;

use api::schema::types;
use proto::api::{GetRequest, Object, Target, WriteOptions};
use serde_json::Value;

use super::manifest::{self, Manifest};
use super::three_way::{self, LAST_APPLIED};
use super::{Context, Failure, print, resource};
use crate::dispatch::Repeat;
use crate::{Error, Patch};

#[derive(clap::Args)]
pub struct Args {
    /// Manifests: files, directories, or `-` for standard input.
    #[arg(long, short, required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let options = WriteOptions { dry_run: args.dry_run, field_manager: "kontiki".into(), ..Default::default() };
    let mut failed = false;
    for manifest in manifest::read(&args.filename)? {
        let name = resource::full_name(manifest.kind, &manifest.name);
        match apply(&context, manifest, &options).await {
            Ok(done) => say!("{name} {done}{}", if args.dry_run { " (dry run)" } else { "" }),
            // The other manifests are applied all the same, as kubectl does.
            Err(failure) => {
                failed = true;
                eprintln!("kontiki: {name}: {}", failure.message);
            }
        }
    }
    if failed { Err(Failure::new("")) } else { Ok(()) }
}

async fn apply(context: &Context, mut manifest: Manifest, options: &WriteOptions) -> Result<&'static str, Failure> {
    let kind = manifest.kind;
    let namespace = if manifest.namespace.is_empty() { context.namespace.clone() } else { manifest.namespace.clone() };
    if kind.namespaced {
        manifest.object["metadata"]["namespace"] = namespace.clone().into();
    }
    remember(&mut manifest.object);
    let target = resource::target(kind, &namespace, &manifest.name);
    let present = match look(context, &target).await {
        Ok(object) => print::value(object)?,
        Err(error) if error.is_not_found() => {
            let target = resource::target(kind, &namespace, "");
            context.client.create_object(target, bytes(&manifest.object), options.clone()).await?;
            return Ok("created");
        }
        Err(error) => return Err(error.into()),
    };
    let last = last_applied(&present);
    let last: Value = last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let root =
        types().root(kind.group, kind.version, kind.kind).ok_or_else(|| Failure::new("the kind has no schema"))?;
    let patch = Patch::Strategic(bytes(&three_way::patch(root, &last, &manifest.object)));
    let after = match context.client.patch_object(target.clone(), patch, Repeat::Never, options.clone()).await {
        Ok(object) => print::value(object)?,
        Err(error @ Error::Unknown(_)) => {
            let now = look(context, &target).await.ok().and_then(|now| print::value(now).ok());
            return match now.is_some_and(|now| took_effect(&present, &now, &manifest.object)) {
                true => Ok("configured"),
                false => Err(error.into()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
    Ok(if version(&present) == version(&after) { "unchanged" } else { "configured" })
}

async fn look(context: &Context, target: &Target) -> Result<Object, Error> {
    context.client.get_object(GetRequest { target: Some(target.clone()), ..Default::default() }).await
}

fn last_applied(object: &Value) -> Option<&str> {
    object.pointer("/metadata/annotations")?.get(LAST_APPLIED)?.as_str()
}

/// Does the object bear the manifest that it did not bear before? Where it did already, nothing in it tells that the manifest
/// was applied once more.
fn took_effect(before: &Value, now: &Value, manifest: &Value) -> bool {
    last_applied(now) == last_applied(manifest) && last_applied(before) != last_applied(now)
}

/// Notes the manifest in itself, for the next apply to compare with.
fn remember(object: &mut Value) {
    if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST_APPLIED);
    }
    let mut text = object.to_string();
    text.push('\n');
    object["metadata"]["annotations"][LAST_APPLIED] = text.into();
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

impl From<serde_json::Error> for Failure {
    fn from(source: serde_json::Error) -> Failure {
        Failure::from(Error::Decode { kind: "JSON", source })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_took_effect_where_the_object_bears_it_and_did_not_before() {
        let bears = |manifest: &str| json!({"metadata": {"annotations": {LAST_APPLIED: manifest}}});
        let bare = json!({"metadata": {}});
        for (before, now, expected) in [
            (&bears("one"), &bears("two"), true),
            (&bare, &bears("two"), true),
            (&bears("one"), &bears("one"), false),
            (&bears("one"), &bears("three"), false),
            (&bears("two"), &bears("two"), false),
            (&bare, &bare, false),
        ] {
            assert_eq!(took_effect(before, now, &bears("two")), expected, "{before} {now}");
        }
    }
}
