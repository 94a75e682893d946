//! What the caller of a stream asks for. Pure: parses and checks.

use api::Status;
use api::field::{FieldErrors, Path};
use http::Uri;
use jiff::Timestamp;
use proto::api as wire;

/// Parameters as Kubernetes' PodLogOptions has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// "" when the Pod has one container.
    pub container: String,
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<i64>,
    pub since_seconds: Option<i64>,
    /// RFC 3339; "" for none.
    pub since_time: String,
    pub limit_bytes: Option<i64>,
}

/// Parameters as Kubernetes' PodExecOptions and PodAttachOptions have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// "" for the first container.
    pub container: String,
    /// Empty for attach.
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
    /// Join the main process instead of starting a command.
    pub attach: bool,
}

/// A command line is at most this long, all arguments together.
const COMMAND_BYTES_MAX: usize = 64 << 10;

impl LogOptions {
    pub fn from_query(uri: &Uri, pod: &str) -> Result<LogOptions, Status> {
        let mut options = LogOptions::default();
        for (name, value) in pairs(uri)? {
            match name.as_str() {
                "container" => options.container = value,
                "follow" => options.follow = flag(&value),
                "previous" => options.previous = flag(&value),
                "timestamps" => options.timestamps = flag(&value),
                "tailLines" => options.tail_lines = Some(number(&name, &value)?),
                "sinceSeconds" => options.since_seconds = Some(number(&name, &value)?),
                "limitBytes" => options.limit_bytes = Some(number(&name, &value)?),
                "sinceTime" => options.since_time = value,
                "stream" if !matches!(value.as_str(), "" | "All") => {
                    return Err(Status::bad_request(format!("stream: {value:?} is not supported, only \"All\" is")));
                }
                // As Kubernetes does: `pretty`, `insecureSkipTLSVerifyBackend` and what else may come.
                _ => {}
            }
        }
        options.check(pod)?;
        Ok(options)
    }

    /// Bounds as Kubernetes has them.
    pub fn check(&self, pod: &str) -> Result<(), Status> {
        let mut errors = FieldErrors::default();
        let field = |name: &'static str| Path::Root.field(name);
        let at_least = |errors: &mut FieldErrors, name: &'static str, value: Option<i64>, least: i64| {
            if let Some(value) = value.filter(|&value| value < least) {
                let why = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
                errors.invalid(&field(name), value, why);
            }
        };
        at_least(&mut errors, "tailLines", self.tail_lines, 0);
        at_least(&mut errors, "limitBytes", self.limit_bytes, 1);
        at_least(&mut errors, "sinceSeconds", self.since_seconds, 1);
        if self.since_seconds.is_some() && !self.since_time.is_empty() {
            errors.forbidden(&Path::Root, "at most one of `sinceTime` or `sinceSeconds` may be specified");
        }
        if !self.since_time.is_empty() && self.since_time.parse::<Timestamp>().is_err() {
            errors.invalid(&field("sinceTime"), self.since_time.as_str(), "must be a time in the format of RFC 3339");
        }
        match errors.list.is_empty() {
            true => Ok(()),
            false => Err(Status::invalid("", "PodLogOptions", pod, errors)),
        }
    }
}

impl From<&wire::LogsRequest> for LogOptions {
    fn from(request: &wire::LogsRequest) -> LogOptions {
        LogOptions {
            container: request.container.clone(),
            follow: request.follow,
            previous: request.previous,
            timestamps: request.timestamps,
            tail_lines: request.tail_lines,
            since_seconds: request.since_seconds,
            since_time: request.since_time.clone(),
            limit_bytes: request.limit_bytes,
        }
    }
}

impl ExecOptions {
    pub fn from_query(uri: &Uri, attach: bool) -> Result<ExecOptions, Status> {
        let mut options = ExecOptions { attach, ..ExecOptions::default() };
        for (name, value) in pairs(uri)? {
            match name.as_str() {
                "container" => options.container = value,
                "command" if !attach => options.command.push(value),
                "stdin" => options.stdin = flag(&value),
                "stdout" => options.stdout = flag(&value),
                "stderr" => options.stderr = flag(&value),
                "tty" => options.tty = flag(&value),
                _ => {}
            }
        }
        options.checked()
    }

    /// A terminal has one output: with `tty`, stderr is stdout.
    pub fn checked(mut self) -> Result<ExecOptions, Status> {
        self.stderr &= !self.tty;
        if !self.attach && self.command.first().is_none_or(String::is_empty) {
            return Err(Status::bad_request("you must specify at least one command for the container"));
        }
        if self.command.iter().map(String::len).sum::<usize>() > COMMAND_BYTES_MAX {
            return Err(Status::bad_request(format!("the command is longer than {COMMAND_BYTES_MAX} bytes")));
        }
        if !(self.stdin || self.stdout || self.stderr) {
            return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(self)
    }
}

impl From<&wire::ExecStart> for ExecOptions {
    fn from(start: &wire::ExecStart) -> ExecOptions {
        ExecOptions {
            container: start.container.clone(),
            command: start.command.clone(),
            stdin: start.stdin,
            stdout: true,
            stderr: !start.tty,
            tty: start.tty,
            attach: start.attach,
        }
    }
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Status> {
    let parsed = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    parsed.map(|query| query.0).map_err(|error| Status::bad_request(error.to_string()))
}

/// A parameter without a value is set, as Kubernetes has it.
fn flag(value: &str) -> bool {
    !(value == "0" || value.eq_ignore_ascii_case("false"))
}

fn number(name: &str, value: &str) -> Result<i64, Status> {
    value.parse().map_err(|_| Status::bad_request(format!("{name}: {value:?} is not an integer")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(query: &str) -> Result<LogOptions, Status> {
        LogOptions::from_query(&format!("/x?{query}").parse().unwrap(), "web")
    }

    #[test]
    fn log_parameters_are_read() {
        let options = logs("container=a&follow=true&tailLines=5&timestamps=1&previous=false&pretty=x").unwrap();
        let expected = LogOptions {
            container: "a".into(),
            follow: true,
            timestamps: true,
            tail_lines: Some(5),
            ..LogOptions::default()
        };
        assert_eq!(options, expected);
        assert_eq!(logs("sinceTime=2026-01-02T03:04:05Z").unwrap().since_time, "2026-01-02T03:04:05Z");
    }

    #[test]
    fn log_parameters_out_of_bounds_are_refused() {
        for (query, code, part) in [
            ("tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", 422, "sinceSeconds"),
            ("sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z", 422, "at most one of"),
            ("sinceTime=yesterday", 422, "sinceTime"),
            ("tailLines=many", 400, "tailLines"),
            ("stream=Stdout", 400, "stream"),
        ] {
            let status = logs(query).unwrap_err();
            assert_eq!(status.code, code, "{query}");
            assert!(status.message.contains(part), "{query}: {}", status.message);
        }
    }

    fn exec(query: &str) -> Result<ExecOptions, Status> {
        ExecOptions::from_query(&format!("/x?{query}").parse().unwrap(), false)
    }

    #[test]
    fn exec_parameters_are_read_in_order() {
        let options = exec("command=sh&command=-c&command=echo+a%26b&stdin=&stdout=true&stderr=true&tty=true").unwrap();
        assert_eq!(options.command, ["sh", "-c", "echo a&b"]);
        assert!(options.stdin && options.stdout && options.tty && !options.stderr);
    }

    #[test]
    fn an_exec_without_command_or_streams_is_refused() {
        assert!(exec("stdout=true").unwrap_err().message.contains("at least one command"));
        assert!(exec("command=ls").unwrap_err().message.contains("at least 1 of stdin"));
        assert!(exec("command=ls&stderr=true&tty=true").is_err());
        let uri = "/x?stdout=1".parse().unwrap();
        assert!(ExecOptions::from_query(&uri, true).unwrap().attach);
    }
}
