//! `kontiki scale`: the number of replicas of a Deployment or ReplicaSet.

use api::kinds::Subresource;

use super::{Context, Failure, resource};
use crate::Patch;
use crate::dispatch::Repeat;

#[derive(clap::Args)]
pub struct Args {
    /// Such as `deployment/web`, or `deployment web`.
    #[arg(required = true)]
    what: Vec<String>,
    /// How many there shall be.
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    replicas: i32,
}

pub async fn run(args: Args, context: Context) -> Result<(), Failure> {
    for (kind, names) in resource::parse(&args.what)? {
        if !kind.has(Subresource::Scale) {
            return Err(Failure::new(format!("{} cannot be scaled", kind.plural)));
        }
        if names.is_empty() {
            return Err(Failure::new(format!("say which of the {} to scale", kind.plural)));
        }
        for name in names {
            let mut target = resource::target(kind, &context.namespace, &name);
            target.subresource = "scale".into();
            let patch = format!(r#"{{"spec":{{"replicas":{}}}}}"#, args.replicas);
            let patch = Patch::Merge(patch.into_bytes());
            context.client.patch_object(target, patch, Repeat::Never, Default::default()).await?;
            say!("{} scaled", resource::full_name(kind, &name));
        }
    }
    Ok(())
}
