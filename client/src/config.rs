//! Where the replicas are, and who the caller is: from a kubeconfig or given directly.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use proto::seam::Env;
use proto::tls::Identity;
use serde::Deserialize;

use crate::Error;

/// Everything a [`crate::Client`] needs.
#[derive(Clone)]
pub struct Config {
    /// `host:port` of each replica's API; any one that lives is enough.
    pub addresses: Vec<String>,
    pub identity: Identity,
    /// The namespace meant when a command names none.
    pub namespace: String,
    /// Deadline of one call, retries included. Streams (watch, logs, exec) have none.
    pub timeout: Duration,
    pub env: Env,
}

impl Config {
    pub fn new(addresses: Vec<String>, identity: Identity) -> Config {
        Config { addresses, identity, namespace: "default".into(), timeout: Duration::from_secs(15), env: Env::real() }
    }

    /// Reads a kubeconfig: the given path, else the first file of `$KUBECONFIG`, else `.kontiki/kubeconfig` below the
    /// current directory, else `~/.kube/config`. The replicas' own addresses stand in the cluster's extension
    /// `kontiki`; the cluster's `server` is one more, or the only one.
    pub fn from_kubeconfig(path: Option<&Path>) -> Result<Config, Error> {
        let path = path.map(Path::to_path_buf).or_else(default_path).ok_or_else(|| Error::Config {
            path: "kubeconfig".into(),
            message: "none found: set KUBECONFIG or give --kubeconfig".into(),
        })?;
        let fail = |message: String| Error::Config { path: path.display().to_string(), message };
        let text = std::fs::read_to_string(&path).map_err(|error| fail(error.to_string()))?;
        let file: Kubeconfig = serde_yaml::from_str(&text).map_err(|error| fail(error.to_string()))?;
        resolve(&file, path.parent().unwrap_or(Path::new("."))).map_err(fail)
    }
}

fn default_path() -> Option<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        return std::env::split_paths(&list).next();
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
    [Some(PathBuf::from(".kontiki/kubeconfig")), home].into_iter().flatten().find(|path| path.exists())
}

fn resolve(file: &Kubeconfig, base: &Path) -> Result<Config, String> {
    let context = find(&file.contexts, &file.current_context, "context")?;
    let context = context.context.as_ref().ok_or("the current context is empty")?;
    let cluster = find(&file.clusters, &context.cluster, "cluster")?;
    let cluster = cluster.cluster.as_ref().ok_or("the cluster is empty")?;
    let user = find(&file.users, &context.user, "user")?;
    let user = user.user.as_ref().ok_or("the user is empty")?;
    let identity = Identity {
        authority_pem: pem(&cluster.certificate_authority_data, &cluster.certificate_authority, base)?,
        certificate_pem: pem(&user.client_certificate_data, &user.client_certificate, base)?,
        key_pem: pem(&user.client_key_data, &user.client_key, base)?,
    };
    let replicas = cluster.extensions.iter().find(|extension| extension.name == "kontiki");
    let mut addresses = replicas.map(|extension| extension.extension.replicas.clone()).unwrap_or_default();
    // Perhaps an agent's proxy, which knows the replicas that came after the file was written.
    let server = cluster.server.trim_start_matches("https://").trim_end_matches('/').to_owned();
    if !server.is_empty() && !addresses.contains(&server) {
        addresses.push(server);
    }
    let mut config = Config::new(addresses, identity);
    if let Some(namespace) = context.namespace.clone().filter(|name| !name.is_empty()) {
        config.namespace = namespace;
    }
    Ok(config)
}

fn pem(data: &Option<String>, file: &Option<String>, base: &Path) -> Result<String, String> {
    if let Some(data) = data {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim()).map_err(|error| error.to_string())?;
        return String::from_utf8(bytes).map_err(|error| error.to_string());
    }
    let file = file.as_ref().ok_or("a client certificate, its key and the cluster's authority are needed")?;
    let path = base.join(file);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn find<'a, T: Named>(list: &'a [T], name: &str, what: &str) -> Result<&'a T, String> {
    list.iter().find(|item| item.name() == name).ok_or_else(|| format!("{what} {name:?} is not in the file"))
}

trait Named {
    fn name(&self) -> &str;
}

macro_rules! named {
    ($($kind:ty),*) => { $(impl Named for $kind { fn name(&self) -> &str { &self.name } })* };
}
named!(NamedContext, NamedCluster, NamedUser);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Option<Context>,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: Option<String>,
    certificate_authority: Option<String>,
    #[serde(default)]
    extensions: Vec<Extension>,
}

#[derive(Deserialize)]
struct Extension {
    name: String,
    #[serde(default)]
    extension: Replicas,
}

#[derive(Deserialize, Default)]
struct Replicas {
    #[serde(default)]
    replicas: Vec<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: Option<User>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_certificate: Option<String>,
    client_key_data: Option<String>,
    client_key: Option<String>,
}
