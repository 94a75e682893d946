//! Runs a command in a Pod's container, then prints the last lines of the container's log.
//!
//! `KUBECONFIG=.kontiki/kubeconfig cargo run -p kontiki-client --example exec -- default/web-0 ls /`

use std::process::ExitCode;

use kontiki_client::{Client, Config, Error, ExecRequest, LogsRequest, ProcessOutput};

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let pod = args.next().unwrap_or_default();
    let command: Vec<String> = args.collect();
    let Some((namespace, pod)) = pod.split_once('/').filter(|_| !command.is_empty()) else {
        eprintln!("usage: exec NAMESPACE/POD COMMAND…");
        return ExitCode::from(2);
    };
    match run(namespace, pod, command).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(namespace: &str, pod: &str, command: Vec<String>) -> Result<u8, Error> {
    let client = Client::connect(Config::from_kubeconfig(None)?)?;

    let request = ExecRequest { namespace: namespace.into(), pod: pod.into(), command, ..ExecRequest::default() };
    let mut process = client.exec(request).await?;
    let mut exit = 0;
    while let Some(output) = process.next().await? {
        match output {
            ProcessOutput::Stdout(data) => write(&mut std::io::stdout(), &data),
            ProcessOutput::Stderr(data) => write(&mut std::io::stderr(), &data),
            ProcessOutput::Exit { code, error } => {
                if let Some(error) = error {
                    eprintln!("{error}");
                }
                exit = u8::try_from(code).unwrap_or(1);
            }
        }
    }

    println!("--- the container's last lines");
    let request =
        LogsRequest { namespace: namespace.into(), pod: pod.into(), tail_lines: Some(5), ..LogsRequest::default() };
    let mut logs = client.logs(request).await?;
    while let Some(chunk) = logs.next().await? {
        write(&mut std::io::stdout(), &chunk);
    }
    Ok(exit)
}

/// A reader that has gone away is no failure of the command.
fn write(to: &mut impl std::io::Write, data: &[u8]) {
    let _ = to.write_all(data).and_then(|()| to.flush());
}
