//! The credentials for an image's registry, among a Pod's imagePullSecrets. Pure.

use k8s_openapi::api::core::v1::Pod;

use super::{Refs, namespace, spec_of};
use crate::runtime::Credentials;

/// The credentials among the Pod's imagePullSecrets that fit an image's registry.
pub fn credentials(pod: &Pod, refs: &Refs<'_>, image: &str) -> Option<Credentials> {
    let registry = registry_of(image);
    let secrets = spec_of(pod).image_pull_secrets.iter().flatten();
    secrets.filter_map(|wanted| refs.secret(namespace(pod), &wanted.name)).find_map(|secret| {
        let data = secret.data?;
        let json: serde_json::Value = serde_json::from_slice(&data.get(".dockerconfigjson")?.0).ok()?;
        let (address, entry) = json.get("auths")?.as_object()?.iter().find(|(address, _)| {
            let bare = address.trim_start_matches("https://").trim_start_matches("http://");
            bare.split('/').next() == Some(registry)
        })?;
        let text = |key: &str| entry.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        let (username, password) = match (text("username"), text("password")) {
            (Some(username), Some(password)) => (username, password),
            _ => {
                use base64::Engine as _;
                let decoded = base64::engine::general_purpose::STANDARD.decode(text("auth")?).ok()?;
                let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
                (username.to_owned(), password.to_owned())
            }
        };
        Some(Credentials { registry: address.clone(), username, password })
    })
}

fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "index.docker.io",
    }
}
