//! `kontiki delete`: by kind and name, by label, or what manifests describe.

use std::path::PathBuf;
use std::time::Duration;

use api::kinds::Kind;
use tokio::time::{Instant, sleep};

use super::{Context, Failure, manifest, resource};
use crate::typed::{DeleteOptions, ListOptions, list_request};

/// How long to wait for objects to be gone.
const WAIT: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub struct Args {
    /// Such as `pod/web`, or `pods web-1 web-2`.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    what: Vec<String>,
    /// Delete what these manifests describe: files, directories, or `-`.
    #[arg(long, short, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Delete the objects of a kind that carry these labels.
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Delete all objects of the kind in the namespace.
    #[arg(long)]
    all: bool,
    /// Seconds that containers get to end by themselves.
    #[arg(long)]
    grace_period: Option<i64>,
    /// Do not wait until they are gone.
    #[arg(long)]
    no_wait: bool,
}

struct Doomed {
    kind: &'static Kind,
    namespace: String,
    name: String,
}

pub async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let mut failures = 0;
    let mut gone = Vec::new();
    for doomed in choose(&args, &context).await? {
        let target = resource::target(doomed.kind, &doomed.namespace, &doomed.name);
        let options = DeleteOptions { grace_period_seconds: args.grace_period, ..Default::default() };
        match context.client.delete_object(target, &options, false).await {
            Ok(_) => {
                say!("{} deleted", resource::full_name(doomed.kind, &doomed.name));
                gone.push(doomed);
            }
            Err(error) => {
                eprintln!("kontiki: {}", Failure::from(error).message);
                failures += 1;
            }
        }
    }
    if !args.no_wait {
        wait(&context, gone).await?;
    }
    if failures > 0 { Err(Failure::new("")) } else { Ok(()) }
}

async fn choose(args: &Args, context: &Context) -> Result<Vec<Doomed>, Failure> {
    let mut chosen = Vec::new();
    if !args.filename.is_empty() {
        for manifest in manifest::read(&args.filename)? {
            let namespace = Some(manifest.namespace).filter(|name| !name.is_empty());
            let namespace = namespace.unwrap_or_else(|| context.namespace.clone());
            chosen.push(Doomed { kind: manifest.kind, namespace, name: manifest.name });
        }
        return Ok(chosen);
    }
    for (kind, names) in resource::parse(&args.what)? {
        let names = match (names.is_empty(), &args.selector, args.all) {
            (false, None, false) => names,
            (true, selector, all) if selector.is_some() || all => names_of(kind, selector.as_deref(), context).await?,
            _ => return Err(Failure::new("say which objects: by name, with --selector, or --all")),
        };
        let doom = |name| Doomed { kind, namespace: context.namespace.clone(), name };
        chosen.extend(names.into_iter().map(doom));
    }
    Ok(chosen)
}

async fn names_of(kind: &'static Kind, selector: Option<&str>, context: &Context) -> Result<Vec<String>, Failure> {
    let options = ListOptions { label_selector: selector.unwrap_or_default().into(), ..Default::default() };
    let request = list_request(resource::target(kind, &context.namespace, ""), &options);
    let reply = context.client.list_objects(request).await?;
    let name = |item: &proto::api::Object| {
        let value: serde_json::Value = serde_json::from_slice(&item.json).ok()?;
        value.pointer("/metadata/name")?.as_str().map(str::to_owned)
    };
    Ok(reply.items.iter().filter_map(name).collect())
}

async fn wait(context: &Context, mut gone: Vec<Doomed>) -> Result<(), Failure> {
    let deadline = Instant::now() + WAIT;
    while let Some(doomed) = gone.last() {
        let target = resource::target(doomed.kind, &doomed.namespace, &doomed.name);
        let request = proto::api::GetRequest { target: Some(target), ..Default::default() };
        match context.client.get_object(request).await {
            Err(error) if error.is_not_found() => {
                gone.pop();
            }
            Err(error) => return Err(error.into()),
            Ok(_) if Instant::now() >= deadline => {
                let name = resource::full_name(doomed.kind, &doomed.name);
                return Err(Failure::new(format!("{name} is still there after {} s", WAIT.as_secs())));
            }
            Ok(_) => sleep(Duration::from_millis(200)).await,
        }
    }
    Ok(())
}
