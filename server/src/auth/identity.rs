//! Who asks: the subject of a verified client certificate, or nobody in particular. Pure.

use std::sync::Arc;

use proto::tls::Subject;

/// A user with groups, in Kubernetes' reading of a certificate. Cheap to clone; stands in the extensions of every
/// request, REST and gRPC alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    user: Arc<str>,
    groups: Arc<[String]>,
}

pub const GROUP_MASTERS: &str = "system:masters";
pub const GROUP_NODES: &str = "system:nodes";
const GROUP_AUTHENTICATED: &str = "system:authenticated";
const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
const USER_ANONYMOUS: &str = "system:anonymous";
const NODE_USER_PREFIX: &str = "system:node:";

impl Identity {
    pub fn new(user: &str, groups: &[&str]) -> Identity {
        let mut groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
        groups.push(GROUP_AUTHENTICATED.to_owned());
        Identity { user: user.into(), groups: groups.into() }
    }

    pub fn of_certificate(subject: &Subject) -> Identity {
        let groups: Vec<&str> = subject.organizations.iter().map(String::as_str).collect();
        Identity::new(&subject.common_name, &groups)
    }

    /// Somebody without a certificate. A bearer token that nobody issued makes no difference.
    pub fn anonymous() -> Identity {
        Identity { user: USER_ANONYMOUS.into(), groups: Arc::new([GROUP_UNAUTHENTICATED.to_owned()]) }
    }

    /// What this process does for itself, such as making the first namespaces.
    pub fn system(part: &str) -> Identity {
        Identity::new(&format!("system:kontiki:{part}"), &[GROUP_MASTERS])
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    pub fn is_anonymous(&self) -> bool {
        &*self.user == USER_ANONYMOUS
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|member| member == group)
    }

    /// The node whose agent this is.
    pub fn node(&self) -> Option<&str> {
        let name = self.user.strip_prefix(NODE_USER_PREFIX)?;
        (self.is_in(GROUP_NODES) && !name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_member_of_the_group_is_a_node() {
        assert_eq!(Identity::new("system:node:node-1", &["system:nodes"]).node(), Some("node-1"));
        assert_eq!(Identity::new("system:node:node-1", &[]).node(), None);
        assert_eq!(Identity::new("system:node:", &["system:nodes"]).node(), None);
        assert_eq!(Identity::new("jane", &["system:nodes"]).node(), None);
    }

    #[test]
    fn the_anonymous_are_in_no_authenticated_group() {
        assert!(!Identity::anonymous().is_in(GROUP_AUTHENTICATED));
        assert!(Identity::new("jane", &[]).is_in(GROUP_AUTHENTICATED));
    }
}
