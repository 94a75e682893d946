//! "Who am I, and may I?": self subject reviews, answered and not stored. Pure.

use api::kinds;
use api::status::{Resource, Status};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, SelfSubjectReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{SelfSubjectAccessReview, SubjectAccessReviewStatus};

use crate::auth::{self, Attributes, Identity};

/// The kinds of reviews that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// `kubectl auth whoami`
    Subject,
    /// `kubectl auth can-i`
    Access,
}

impl Review {
    /// By the path that it is posted to.
    pub fn of(path: &str) -> Option<Review> {
        match path {
            "/apis/authentication.k8s.io/v1/selfsubjectreviews" => Some(Review::Subject),
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => Some(Review::Access),
            _ => None,
        }
    }
}

/// Answers a review of the caller itself.
pub fn review(review: Review, body: &[u8], user: &Identity) -> Result<Vec<u8>, Status> {
    if user.is_anonymous() {
        return Err(Status::unauthorized());
    }
    let answer = match review {
        Review::Subject => serde_json::to_vec(&subject(user)),
        Review::Access => serde_json::to_vec(&access(kinds::decode(body)?, user)),
    };
    answer.map_err(Status::internal)
}

fn subject(user: &Identity) -> SelfSubjectReview {
    let info = UserInfo {
        username: Some(user.user().to_owned()),
        groups: Some(user.groups().to_vec()),
        ..UserInfo::default()
    };
    let status = SelfSubjectReviewStatus { user_info: Some(info) };
    SelfSubjectReview { status: Some(status), ..SelfSubjectReview::default() }
}

fn access(mut review: SelfSubjectAccessReview, user: &Identity) -> SelfSubjectAccessReview {
    let allowed = match (&review.spec.resource_attributes, &review.spec.non_resource_attributes) {
        (Some(asked), _) => {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let (group, plural) = (text(&asked.group), text(&asked.resource));
            let attributes = Attributes {
                verb: &text(&asked.verb),
                resource: Resource { group: &group, plural: &plural },
                subresource: &text(&asked.subresource),
                namespace: &text(&asked.namespace),
                name: &text(&asked.name),
                fields: None,
            };
            auth::authorize(user, &attributes).is_ok()
        }
        (None, Some(path)) => auth::authorize_path(user, path.path.as_deref().unwrap_or_default()).is_ok(),
        (None, None) => false,
    };
    review.status = Some(SubjectAccessReviewStatus { allowed, ..SubjectAccessReviewStatus::default() });
    review
}
