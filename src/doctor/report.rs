//! The report, as a table and as JSON.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use crate::model::Hint;

/// Widest column of checks, in characters: a longer name, of an application with a long slug, moves its
/// own line alone.
const MAX_COLUMN: usize = 28;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It was not looked at, because something else has to work first.
    Skipped,
    /// Probably not meant.
    Warning,
    /// It cannot work like this.
    Failed,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, for example `token` or `grafana: issuer`.
    pub check: String,
    /// How it ended.
    pub status: Status,
    /// What was found. Never a secret.
    pub found: String,
    /// What to do, unless `found` says so or nothing is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// All checks, in the order in which things have to work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks.
    pub findings: Vec<Finding>,
    /// Whether the settings cannot be used, so that the server would not start.
    #[serde(skip)]
    pub unusable: bool,
}

impl Report {
    /// Adds a check that found things as they should be.
    pub fn ok(&mut self, check: impl Into<String>, found: impl Into<String>) {
        self.add(check, Status::Ok, found, None);
    }

    /// Adds a check that found things as they may be, with what would be better.
    pub fn hint(
        &mut self,
        check: impl Into<String>,
        found: impl Into<String>,
        better: impl Into<String>,
    ) {
        self.add(check, Status::Ok, found, Some(better.into()));
    }

    /// Adds a check that could not be made.
    pub fn skipped(&mut self, check: impl Into<String>, found: impl Into<String>) {
        self.add(check, Status::Skipped, found, None);
    }

    /// Adds a check that found something odd.
    pub fn warning(
        &mut self,
        check: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(check, Status::Warning, found, Some(fix.into()));
    }

    /// Adds a check that found what cannot work.
    pub fn failed(
        &mut self,
        check: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(check, Status::Failed, found, Some(fix.into()));
    }

    /// Adds a check that ended with an error or a diagnostic; its hint is the fix.
    pub fn diagnostic(&mut self, check: impl Into<String>, status: Status, found: &impl Hint) {
        let fix = found.hint().map(Cow::into_owned);
        self.add(check, status, found.to_string(), fix);
    }

    /// Adds that the settings cannot be used.
    pub fn unusable(&mut self, error: &impl Hint) {
        const FIX: &str = "correct it; authentik-proxy config --reference has every setting";
        self.unusable = true;
        let fix = error.hint().unwrap_or(Cow::Borrowed(FIX));
        self.failed("settings", error.to_string(), fix);
    }

    /// Adds the checks of another report.
    pub fn extend(&mut self, other: Self) {
        self.unusable |= other.unusable;
        self.findings.extend(other.findings);
    }

    /// The worst status.
    #[must_use]
    pub fn worst(&self) -> Status {
        let all = self.findings.iter().map(|finding| finding.status);
        all.max().unwrap_or(Status::Ok)
    }

    fn add(
        &mut self,
        check: impl Into<String>,
        status: Status,
        found: impl Into<String>,
        fix: Option<String>,
    ) {
        self.findings.push(Finding {
            check: check.into(),
            status,
            // One line each, whatever a library says.
            found: found.into().lines().collect::<Vec<_>>().join("; "),
            fix: fix.filter(|fix| !fix.is_empty()),
        });
    }

    /// The report as a table, with colours if it is for a terminal.
    #[must_use]
    pub fn table(&self, colours: bool) -> Table<'_> {
        Table {
            report: self,
            colours,
        }
    }
}

/// A report as text.
pub struct Table<'a> {
    report: &'a Report,
    colours: bool,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = &self.report.findings;
        // One width, and std pads to it: a helper would have to know colours and the second line.
        let names = findings.iter().map(|finding| finding.check.chars().count());
        let width = names
            .filter(|width| *width <= MAX_COLUMN)
            .max()
            .unwrap_or(0);
        for finding in findings {
            let (word, colour) = match finding.status {
                Status::Ok => ("ok     ", "32"),
                Status::Skipped => ("skipped", "2"),
                Status::Warning => ("warning", "33"),
                Status::Failed => ("FAILED ", "1;31"),
            };
            if self.colours {
                write!(f, "\x1b[{colour}m{word}\x1b[0m")?;
            } else {
                write!(f, "{word}")?;
            }
            writeln!(f, "  {:width$}  {}", finding.check, finding.found)?;
            if let Some(fix) = &finding.fix {
                writeln!(f, "         {:width$}  -> {fix}", "")?;
            }
        }
        let count = |status| findings.iter().filter(|f| f.status == status).count();
        let (failed, warnings) = (count(Status::Failed), count(Status::Warning));
        writeln!(
            f,
            "{} checks, {failed} failed, {warnings} with warnings",
            findings.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Diagnostic;

    #[test]
    fn a_report_is_a_table_and_json() {
        let mut report = Report::default();
        report.ok("token", "accepted");
        report.failed("clock", "90 s\nahead", "run NTP on both hosts");
        report.skipped("websocket", "the token has to work first");
        let diagnostic = Diagnostic::new("it is odd; very odd").hinting("mend it");
        report.diagnostic("log", Status::Warning, &diagnostic);
        assert_eq!(report.worst(), Status::Failed);
        let table = report.table(false).to_string();
        assert_eq!(
            table,
            "ok       token      accepted\n\
             FAILED   clock      90 s; ahead\n\
             \u{20}                   -> run NTP on both hosts\n\
             skipped  websocket  the token has to work first\n\
             warning  log        it is odd; very odd\n\
             \u{20}                   -> mend it\n\
             4 checks, 1 failed, 1 with warnings\n"
        );
        let long = format!("{}: issuer", "s".repeat(60));
        report.ok(long.clone(), "it answers");
        let with_long = report.table(false).to_string();
        let expected = table.replace(
            "4 checks",
            &format!("ok       {long}  it answers\n5 checks"),
        );
        assert_eq!(with_long, expected, "the other lines stay where they are");
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["findings"][1]["status"], "failed");
        assert_eq!(json["findings"][0].get("fix"), None);
    }
}
