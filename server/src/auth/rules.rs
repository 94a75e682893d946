//! May they? The rules for each kind of user, as a function of the request. Pure, decides.

use api::selector::FieldSelector;
use api::status::{Resource, Status};

use super::identity::{GROUP_MASTERS, Identity};
use super::node;

/// What a request wants, in the terms of Kubernetes' authorization.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// get, list, watch, create, update, patch, delete or deletecollection.
    pub verb: &'a str,
    pub resource: Resource<'a>,
    /// "" for the object itself.
    pub subresource: &'a str,
    /// "" for cluster-scoped kinds and for all namespaces.
    pub namespace: &'a str,
    /// "" for collections, and for a create.
    pub name: &'a str,
    /// Of a list or a watch.
    pub fields: Option<&'a FieldSelector>,
}

/// How far a permission reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    Full,
    /// Only for what belongs to this node: whoever holds the object must ask [`node::Limit::covers`].
    Limited(node::Limit),
}

/// Decides over a request for objects. 401 for the anonymous, 403 for the others.
pub fn authorize(user: &Identity, attributes: &Attributes<'_>) -> Result<Grant, Status> {
    if user.is_anonymous() {
        return Err(unauthorized());
    }
    if user.is_in(GROUP_MASTERS) || reviews_themselves(attributes) {
        return Ok(Grant::Full);
    }
    match user.node().and_then(|name| node::authorize(name, attributes)) {
        Some(grant) => Ok(grant),
        None => Err(forbidden(user, attributes)),
    }
}

/// Decides over a path that is no object: discovery, schemas, metrics.
pub fn authorize_path(user: &Identity, path: &str) -> Result<(), Status> {
    if user.is_anonymous() {
        return Err(unauthorized());
    }
    let everybodys = ["/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz"];
    let open = everybodys
        .iter()
        .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    if open || user.is_in(GROUP_MASTERS) {
        return Ok(());
    }
    let why = format!("User {:?} cannot get path {path:?}", user.user());
    Err(Status::forbidden(Resource { group: "", plural: "" }, "", why))
}

pub fn unauthorized() -> Status {
    Status::unauthorized()
}

/// Asking what one may do is everybody's right.
fn reviews_themselves(attributes: &Attributes<'_>) -> bool {
    let group = attributes.resource.group;
    attributes.verb == "create"
        && (group == "authorization.k8s.io" || group == "authentication.k8s.io")
        && attributes.resource.plural.starts_with("selfsubject")
}

fn forbidden(user: &Identity, attributes: &Attributes<'_>) -> Status {
    let Attributes { verb, resource, subresource, namespace, name, .. } = *attributes;
    let part = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    let place = match namespace {
        "" => "at the cluster scope".to_owned(),
        _ => format!("in the namespace {namespace:?}"),
    };
    let why = format!(
        "User {:?} cannot {verb} resource \"{}{part}\" in API group {:?} {place}",
        user.user(),
        resource.plural,
        resource.group
    );
    Status::forbidden(resource, name, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask<'a>(verb: &'a str, plural: &'a str, namespace: &'a str, name: &'a str) -> Attributes<'a> {
        Attributes { verb, resource: Resource { group: "", plural }, subresource: "", namespace, name, fields: None }
    }

    #[test]
    fn refusals_name_the_user_the_verb_and_the_place() {
        let jane = Identity::new("jane", &["developers"]);
        let status = authorize(&jane, &ask("list", "pods", "default", "")).unwrap_err();
        assert_eq!(
            (status.code, status.message.as_str()),
            (
                403,
                r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#
            )
        );
        let status = authorize(&jane, &ask("get", "nodes", "", "n1")).unwrap_err();
        assert_eq!(
            status.message,
            r#"nodes "n1" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the cluster scope"#
        );
    }

    #[test]
    fn administrators_may_do_all_and_the_anonymous_nothing() {
        let admin = Identity::new("root", &["system:masters"]);
        assert_eq!(authorize(&admin, &ask("delete", "secrets", "kube-system", "x")), Ok(Grant::Full));
        assert_eq!(authorize(&Identity::anonymous(), &ask("get", "pods", "default", "x")).unwrap_err().code, 401);
        assert_eq!(authorize_path(&Identity::anonymous(), "/api").unwrap_err().code, 401);
        assert_eq!(authorize_path(&Identity::new("jane", &[]), "/apis/apps/v1"), Ok(()));
        let status = authorize_path(&Identity::new("jane", &[]), "/metrics").unwrap_err();
        assert_eq!(status.message, r#"forbidden: User "jane" cannot get path "/metrics""#);
    }
}
