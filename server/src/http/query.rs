//! The query parameters of the API. Pure.

use std::time::Duration;

use api::deletion;
use api::status::Status;
use http::Uri;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;

use crate::objects::{FieldValidation, Freshness, Selection, Target, WatchStart, WriteOptions};

/// More than any client needs; bounds the work of look-ups.
const PARAMETERS_MAX: usize = 64;

/// As they stand after the `?`, decoded.
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn of(uri: &Uri) -> Result<Query, Status> {
        let parsed = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        let axum::extract::Query(pairs) =
            parsed.map_err(|error| Status::bad_request(format!("cannot read the query: {error}")))?;
        if pairs.len() > PARAMETERS_MAX {
            return Err(Status::bad_request(format!("more than {PARAMETERS_MAX} query parameters")));
        }
        Ok(Query(pairs))
    }

    /// "" where it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub fn flag(&self, name: &str) -> Result<bool, Status> {
        match self.get(name) {
            "" => Ok(self.0.iter().any(|(key, _)| key == name)),
            "true" | "True" | "1" => Ok(true),
            "false" | "False" | "0" => Ok(false),
            other => Err(invalid(name, other, "must be true or false")),
        }
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        match self.get(name) {
            "" => Ok(None),
            text => {
                text.parse().map(Some).map_err(|_| invalid(name, text, "must be a whole number that is not negative"))
            }
        }
    }

    pub fn selection(&self, target: &Target) -> Result<Selection, Status> {
        let mut selection = Selection::parse(target.kind, self.get("labelSelector"), self.get("fieldSelector"))?;
        // Watching one object is watching the collection by its name.
        if !target.name.is_empty() {
            selection.fields = api::selector::FieldSelector::parse(&format!("metadata.name={}", target.name))
                .map_err(|error| Status::bad_request(error.to_string()))?;
        }
        Ok(selection)
    }

    pub fn limit(&self) -> Result<usize, Status> {
        Ok(self.number("limit")?.unwrap_or(0))
    }

    /// Of a get or a list.
    pub fn freshness(&self) -> Result<Freshness, Status> {
        let revision = self.number::<u64>("resourceVersion")?;
        match (self.get("resourceVersionMatch"), revision) {
            ("", None) => Ok(Freshness::Newest),
            ("", Some(0)) | ("NotOlderThan", Some(0)) => Ok(Freshness::Any),
            ("" | "NotOlderThan", Some(revision)) => Ok(Freshness::NotOlderThan(revision)),
            ("Exact", Some(0)) => Err(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
            )),
            ("Exact", Some(revision)) => Ok(Freshness::Exactly(revision)),
            ("Exact" | "NotOlderThan", None) => Err(forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            )),
            (other, _) => Err(invalid("resourceVersionMatch", other, "supported values: \"Exact\", \"NotOlderThan\"")),
        }
    }

    /// Where a watch begins, and whether the end of what is there at first is marked.
    pub fn watch_start(&self) -> Result<(WatchStart, bool), Status> {
        let revision = self.number::<u64>("resourceVersion")?;
        let has_initial = !self.get("sendInitialEvents").is_empty();
        let initial = self.flag("sendInitialEvents")?;
        if has_initial && self.get("resourceVersionMatch") != "NotOlderThan" {
            let why = "resourceVersionMatch must be NotOlderThan when sendInitialEvents is given";
            return Err(forbidden("sendInitialEvents", why));
        }
        if !has_initial && !self.get("resourceVersionMatch").is_empty() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(forbidden("resourceVersionMatch", why));
        }
        let start = match (initial, revision) {
            (true, None) => WatchStart::Present(Freshness::Newest),
            (true, Some(0)) => WatchStart::Present(Freshness::Any),
            (true, Some(revision)) => WatchStart::Present(Freshness::NotOlderThan(revision)),
            (false, None | Some(0)) if has_initial => WatchStart::Now,
            (false, None) => WatchStart::Present(Freshness::Newest),
            (false, Some(0)) => WatchStart::Present(Freshness::Any),
            (false, Some(revision)) => WatchStart::After(revision),
        };
        Ok((start, initial))
    }

    pub fn timeout(&self) -> Result<Option<Duration>, Status> {
        Ok(self.number("timeoutSeconds")?.filter(|seconds| *seconds > 0).map(Duration::from_secs))
    }

    pub fn write_options(&self) -> Result<WriteOptions, Status> {
        let field_validation = FieldValidation::parse(Some(self.get("fieldValidation")))?;
        Ok(WriteOptions {
            dry_run: self.dry_run()?,
            field_manager: self.get("fieldManager").to_owned(),
            field_validation,
        })
    }

    fn dry_run(&self) -> Result<bool, Status> {
        match self.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(invalid("dryRun", other, "supported values: \"All\"")),
        }
    }

    /// What the body says counts; without a body, the query.
    pub fn delete_options(&self, body: Option<DeleteOptions>) -> Result<deletion::Options, Status> {
        let mut options = body.unwrap_or_default();
        let text = |name| Some(self.get(name).to_owned()).filter(|text| !text.is_empty());
        if options.grace_period_seconds.is_none() {
            options.grace_period_seconds = self.number("gracePeriodSeconds")?;
        }
        if options.propagation_policy.is_none() && options.orphan_dependents.is_none() {
            options.propagation_policy = text("propagationPolicy");
            if options.propagation_policy.is_none() && text("orphanDependents").is_some() {
                options.orphan_dependents = Some(self.flag("orphanDependents")?);
            }
        }
        let dry_run = self.dry_run()?;
        let mut options = deletion::Options::try_from(options)?;
        options.dry_run |= dry_run;
        Ok(options)
    }
}

fn invalid(name: &str, value: &str, detail: &str) -> Status {
    Status::bad_request(format!("{name}: Invalid value: {value:?}: {detail}"))
}

fn forbidden(name: &str, detail: &str) -> Status {
    Status::bad_request(format!("{name}: Forbidden: {detail}"))
}
