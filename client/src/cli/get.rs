//! `kontiki get`: objects as a table, YAML, JSON, or names.

use api::kinds::Kind;
use serde_json::{Value, json};

use super::{Context, Failure, print, resource};
use crate::typed::{ListOptions, list_request};

#[derive(clap::Args)]
pub struct Args {
    /// A kind, with names or without: `pods`, `pod web`, `deploy/web svc/web`, `deploy,svc`, or `all`.
    #[arg(required = true)]
    what: Vec<String>,
    /// yaml, json, wide or name.
    #[arg(long, short, value_parser = ["yaml", "json", "wide", "name"])]
    output: Option<String>,
    /// Only objects with these labels, such as `app=web,tier!=db`.
    #[arg(long, short = 'l', value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Only objects with these fields, such as `spec.nodeName=node-1`.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    field_selector: String,
    /// In all namespaces.
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// As it all stood right after this revision (`kontiki history` names them), within the history window.
    #[arg(long, value_name = "REVISION")]
    at_revision: Option<u64>,
    /// Add a column with the labels.
    #[arg(long)]
    show_labels: bool,
}

pub async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let namespace = if args.all_namespaces { "" } else { context.namespace.as_str() };
    let wanted = resource::parse(&args.what)?;
    let mut all = Vec::new();
    let mut tables = 0;
    for (kind, names) in &wanted {
        let objects = fetch(&context, kind, names, namespace, &args).await?;
        if args.output.as_deref().is_none_or(|output| output == "wide") {
            // Several kinds were asked for: those without objects would only be noise.
            if objects.is_empty() && wanted.len() > 1 {
                continue;
            }
            if objects.is_empty() {
                eprintln!("no {} found{}", kind.plural, place(kind, namespace));
                continue;
            }
            let style = print::Style {
                wide: args.output.is_some(),
                namespaces: args.all_namespaces && kind.namespaced,
                labels: args.show_labels,
                // With several kinds a bare name would say too little.
                full_names: wanted.len() > 1,
            };
            if tables > 0 {
                say!("");
            }
            print::table(kind, &objects, &style, &context)?;
            tables += 1;
        } else {
            all.extend(objects.into_iter().map(|object| (*kind, object)));
        }
    }
    match args.output.as_deref() {
        None | Some("wide") if tables == 0 && wanted.len() > 1 => {
            let place =
                if args.all_namespaces { " in any namespace".into() } else { format!(" in the namespace {namespace}") };
            eprintln!("nothing found{place}");
        }
        Some("name") => {
            for (kind, object) in &all {
                say!("{}", resource::full_name(kind, print::name(object)));
            }
        }
        Some(format @ ("yaml" | "json")) => print::document(format, whole(all, names_one(&wanted)))?,
        _ => {}
    }
    Ok(())
}

fn place(kind: &Kind, namespace: &str) -> String {
    match namespace {
        _ if !kind.namespaced => String::new(),
        "" => " in any namespace".into(),
        namespace => format!(" in the namespace {namespace}"),
    }
}

fn names_one(wanted: &[(&Kind, Vec<String>)]) -> bool {
    matches!(wanted, [(_, names)] if names.len() == 1)
}

/// One object as it is, several as a List.
fn whole(mut objects: Vec<(&Kind, Value)>, one: bool) -> Value {
    if one && objects.len() == 1 {
        return objects.remove(0).1;
    }
    let items: Vec<Value> = objects.into_iter().map(|(_, object)| object).collect();
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

async fn fetch(
    context: &Context,
    kind: &'static Kind,
    names: &[String],
    namespace: &str,
    args: &Args,
) -> Result<Vec<Value>, Failure> {
    let (exact, resource_version) = (args.at_revision.is_some(), args.at_revision.map(|at| at.to_string()));
    let resource_version = resource_version.unwrap_or_default();
    let mut objects = Vec::new();
    for name in names {
        let target = Some(resource::target(kind, namespace, name));
        let request = proto::api::GetRequest { target, resource_version: resource_version.clone(), exact };
        objects.push(print::value(context.client.get_object(request).await?)?);
    }
    if names.is_empty() {
        let options = ListOptions {
            label_selector: args.selector.clone(),
            field_selector: args.field_selector.clone(),
            resource_version,
            exact,
            ..Default::default()
        };
        let request = list_request(resource::target(kind, namespace, ""), &options);
        for object in context.client.list_objects(request).await?.items {
            objects.push(print::value(object)?);
        }
    }
    Ok(objects)
}
