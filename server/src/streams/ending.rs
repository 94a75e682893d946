//! How the end of a command is told on the error channel. Pure.

use serde_json::json;

use crate::sessions::Ended;

/// From version 4 of the protocols on: a Status, always. The exit code is a cause of it.
pub fn status(ended: &Ended) -> Vec<u8> {
    let status = match ended {
        Ended::Exited(0) => json!({"metadata": {}, "status": "Success"}),
        Ended::Exited(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit code {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Ended::Failed(error) => return api::Status::internal(error).to_json(),
    };
    status.to_string().into_bytes()
}

/// Before version 4: text, and nothing when all went well.
pub fn text(ended: &Ended) -> Vec<u8> {
    match ended {
        Ended::Exited(0) => Vec::new(),
        Ended::Exited(code) => format!("command terminated with non-zero exit code: exit code {code}").into_bytes(),
        Ended::Failed(error) => error.clone().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_a_cause() {
        let value: serde_json::Value = serde_json::from_slice(&status(&Ended::Exited(3))).unwrap();
        assert_eq!(value["status"], "Failure");
        assert_eq!(value["reason"], "NonZeroExitCode");
        assert_eq!(value["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        let value: serde_json::Value = serde_json::from_slice(&status(&Ended::Exited(0))).unwrap();
        assert_eq!(value["status"], "Success");
        let value: serde_json::Value = serde_json::from_slice(&status(&Ended::Failed("no such file".into()))).unwrap();
        assert_eq!((value["reason"].as_str(), value["code"].as_u64()), (Some("InternalError"), Some(500)));
        assert!(text(&Ended::Exited(0)).is_empty() && !text(&Ended::Exited(1)).is_empty());
    }
}
