//! `kontiki describe`: one object in full, and the events about it.

use k8s_openapi::api::core::v1::Event;
use proto::api::GetRequest;
use serde_json::Value;

use super::{Context, Failure, print, resource};
use crate::ListOptions;

#[derive(clap::Args)]
pub struct Args {
    /// Such as `pod/web`, or `pod web`.
    #[arg(required = true)]
    what: Vec<String>,
}

pub async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let mut first = true;
    for (kind, names) in resource::parse(&args.what)? {
        if names.is_empty() {
            return Err(Failure::new(format!("name one of the {}", kind.plural)));
        }
        for name in names {
            if !std::mem::take(&mut first) {
                say!("---");
            }
            let target = Some(resource::target(kind, &context.namespace, &name));
            let request = GetRequest { target, ..Default::default() };
            let mut object = print::value(context.client.get_object(request).await?)?;
            let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned();
            forget_noise(&mut object);
            print::document("yaml", object)?;
            events(&context, if kind.namespaced { &context.namespace } else { "default" }, &uid).await?;
        }
    }
    Ok(())
}

/// What tells a person nothing.
fn forget_noise(object: &mut Value) {
    if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.remove(super::three_way::LAST_APPLIED);
    }
}

async fn events(context: &Context, namespace: &str, uid: &str) -> Result<(), Failure> {
    let options = ListOptions { field_selector: format!("involvedObject.uid={uid}"), ..Default::default() };
    let mut events = context.client.namespaced::<Event>(namespace).list(&options).await?.items;
    if events.is_empty() {
        say!("\nEvents: none");
        return Ok(());
    }
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    say!("\nEvents:");
    for event in events {
        let times = match event.count {
            Some(count) if count > 1 => format!(" (x{count})"),
            _ => String::new(),
        };
        let at = event.last_timestamp.map(|time| time.0.to_string()).unwrap_or_default();
        let (type_, reason) = (event.type_.unwrap_or_default(), event.reason.unwrap_or_default());
        say!("  {at}  {type_:<8} {reason}{times}: {}", event.message.unwrap_or_default());
    }
    Ok(())
}
