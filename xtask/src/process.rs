//! Starting other programs: where the workspace is, how a command is shown, what it returned.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

/// The root of the workspace, from any directory inside it.
pub(crate) fn workspace_root() -> PathBuf {
    // Set by `cargo run`; the other is where this program was compiled.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or(manifest.clone(), Path::to_path_buf)
}

/// The cargo that started us, so that a toolchain chosen with `+name` stays chosen.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A command for `argv`, whose first element is the program; `cargo` is [`cargo`].
pub(crate) fn command(argv: &[OsString]) -> Command {
    let program = if argv[0] == "cargo" { cargo() } else { argv[0].clone() };
    let mut command = Command::new(program);
    command.args(&argv[1..]);
    command
}

/// Does the program answer, with exit status 0?
pub(crate) fn answers(argv: &[&str]) -> bool {
    let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
    let mut command = command(&argv);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The exit status as a shell would report it: a signal `n` is `128 + n`.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status.code().map_or(u8::MAX, |code| u8::try_from(code).unwrap_or(u8::MAX))
}

/// A command line that can be pasted into a POSIX shell.
pub(crate) fn shell_line<S: AsRef<OsStr>>(environment: &[(&str, &str)], argv: &[S]) -> String {
    let variables = environment.iter().map(|(name, value)| format!("{name}={}", quote(value)));
    let words = argv.iter().map(|word| quote(&word.as_ref().to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_when_a_shell_would_change_them() {
        assert_eq!(quote("--set=steps=3"), "--set=steps=3");
        assert_eq!(quote("two words"), "'two words'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
        let line = shell_line(&[("RUSTDOCFLAGS", "-D warnings")], &["cargo", "doc"]);
        assert_eq!(line, "RUSTDOCFLAGS='-D warnings' cargo doc");
    }

    #[cfg(unix)]
    #[test]
    fn signals_and_statuses_are_told_apart() {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(workspace_root().join("Cargo.toml").is_file());
        assert!(workspace_root().join("xtask").is_dir());
    }
}
