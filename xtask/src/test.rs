//! `cargo xtask test`: everything that a change has to pass, cheapest first.

mod files;
mod smoke;
mod steps;

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{
    process::{answers, command, exit_code, shell_line, workspace_root},
    say::{say, warn},
};
use steps::{Line, Step, Work};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run this step only; may be given several times
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Leave out the smoke reproductions
    #[arg(long)]
    quick: bool,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
    /// List the steps and what they run, and run nothing
    #[arg(long)]
    list: bool,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// Not run, and why.
    Skipped(String),
    /// What happened.
    Failed(String),
}

/// A step that was run, or skipped.
struct Done {
    name: &'static str,
    outcome: Outcome,
    time: Duration,
}

/// Runs the chosen steps and prints a table; exit status 1 if one failed.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let root = workspace_root();
    let steps = select(steps::all(&root)?, options)?;
    if options.list {
        list(&steps);
        return Ok(ExitCode::SUCCESS);
    }
    let mut done = Vec::new();
    for step in &steps {
        say(format_args!("==> {}: {}", step.name, step.about));
        let start = Instant::now();
        let outcome = perform(step, &root);
        let time = start.elapsed();
        report(step.name, &outcome, time);
        let stop = matches!(outcome, Outcome::Failed(_)) && !options.keep_going;
        done.push(Done { name: step.name, outcome, time });
        if stop {
            break;
        }
    }
    say(format_args!("{}", table(&done, steps.len()).trim_end_matches('\n')));
    let failed = done.iter().any(|step| matches!(step.outcome, Outcome::Failed(_)));
    Ok(ExitCode::from(u8::from(failed)))
}

fn select(steps: Vec<Step>, options: &Options) -> anyhow::Result<Vec<Step>> {
    let known: Vec<&str> = steps.iter().map(|step| step.name).collect();
    if let Some(name) = options.only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no step `{name}`; the steps are {}", known.join(", "));
    }
    let wanted = |step: &Step| {
        if options.only.is_empty() {
            !(options.quick && step.name == steps::SMOKE)
        } else {
            options.only.iter().any(|name| name == step.name)
        }
    };
    Ok(steps.into_iter().filter(wanted).collect())
}

fn list(steps: &[Step]) {
    for step in steps {
        say(format_args!("{:<12} {}", step.name, step.about));
        if let Work::Lines(lines) = &step.work {
            lines.iter().for_each(|line| say(format_args!("{:<12}   {}", "", line.shown())));
        }
    }
}

fn perform(step: &Step, root: &Path) -> Outcome {
    if let Some(tool) = step.tool.filter(|tool| !answers(tool)) {
        return Outcome::Skipped(format!("`{}` does not answer: not installed", tool.join(" ")));
    }
    match &step.work {
        Work::Call(call) => {
            call(root).unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")))
        }
        Work::Lines(lines) => lines
            .iter()
            .map(|line| line.run(root))
            .find(|outcome| *outcome != Outcome::Passed)
            .unwrap_or(Outcome::Passed),
    }
}

impl Line {
    /// As it can be pasted into a shell.
    fn shown(&self) -> String {
        shell_line(&self.environment, &self.argv)
    }

    /// Runs in the root of the workspace, its output passed on.
    fn run(&self, root: &Path) -> Outcome {
        say(format_args!("    {}", self.shown()));
        let mut command = command(&self.argv);
        command.current_dir(root).envs(self.environment.iter().copied());
        match command.status() {
            Ok(status) if status.success() => Outcome::Passed,
            Ok(status) => Outcome::Failed(format!(
                "exit status {}; repeat it with: {}",
                exit_code(status),
                self.shown()
            )),
            Err(error) => Outcome::Failed(format!("could not be started: {error}")),
        }
    }
}

fn report(name: &str, outcome: &Outcome, time: Duration) {
    let seconds = time.as_secs_f64();
    match outcome {
        Outcome::Passed => say(format_args!("    {name}: ok, {seconds:.1} s")),
        Outcome::Skipped(why) => say(format_args!("    {name}: skipped, {why}")),
        Outcome::Failed(what) => warn(format_args!(
            "error: step `{name}` failed after {seconds:.1} s: {what}\n       \
             the step alone: cargo xtask test --only {name}"
        )),
    }
}

/// One line a step, and the sum of the times.
fn table(done: &[Done], chosen: usize) -> String {
    let mut text = format!("\n{:<12} {:<8} {:>9}\n", "step", "result", "seconds");
    for step in done {
        let (result, remark) = match &step.outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Skipped(why) => ("skipped", why.as_str()),
            Outcome::Failed(_) => ("FAILED", ""),
        };
        let line =
            format!("{:<12} {result:<8} {:>9.1}  {remark}", step.name, step.time.as_secs_f64());
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let total: Duration = done.iter().map(|step| step.time).sum();
    text.push_str(&format!("{:<12} {:<8} {:>9.1}\n", "total", "", total.as_secs_f64()));
    if done.len() < chosen {
        text.push_str(&format!("stopped: {} steps were not run\n", chosen - done.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(only: &[&str], quick: bool) -> Options {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        Options { only, quick, keep_going: false, list: false }
    }

    fn chosen(only: &[&str], quick: bool) -> anyhow::Result<Vec<&'static str>> {
        let steps = select(steps::all(&workspace_root())?, &options(only, quick))?;
        Ok(steps.into_iter().map(|step| step.name).collect())
    }

    #[test]
    fn quick_leaves_out_smoke_and_only_wins() -> anyhow::Result<()> {
        let (all, quick) = (chosen(&[], false)?, chosen(&[], true)?);
        assert_eq!(all.len(), quick.len() + 1);
        assert!(all.contains(&"smoke") && !quick.contains(&"smoke"));
        assert_eq!(chosen(&["smoke", "fmt"], true)?, ["fmt", "smoke"]);
        Ok(())
    }

    #[test]
    fn an_unknown_step_is_answered_with_the_known_ones() {
        let error = chosen(&["format"], false).unwrap_err().to_string();
        assert!(error.contains("`format`") && error.contains("fmt, "), "{error}");
    }

    #[test]
    fn a_failing_command_is_named_with_the_line_that_repeats_it() {
        let line = Line::new(&["cargo", "no-such-command", "two words"]);
        let Outcome::Failed(what) = line.run(&workspace_root()) else { panic!("it passed") };
        assert!(what.contains("repeat it with: cargo no-such-command 'two words'"), "{what}");
    }

    #[test]
    fn the_table_names_what_was_skipped_and_what_was_not_run() {
        let second = Duration::from_secs(1);
        let done = [
            Done { name: "fmt", outcome: Outcome::Passed, time: second },
            Done { name: "typos", outcome: Outcome::Skipped("not installed".into()), time: second },
            Done { name: "clippy", outcome: Outcome::Failed("x".into()), time: second },
        ];
        let text = table(&done, 5);
        assert!(text.contains("typos        skipped        1.0  not installed\n"), "{text}");
        assert!(text.contains("clippy       FAILED         1.0\n"), "{text}");
        assert!(text.contains("stopped: 2 steps were not run"), "{text}");
        assert!(text.contains("total                       3.0\n"), "{text}");
    }
}
