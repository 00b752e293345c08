//! What came of the scenarios: a table for the terminal, JSON for programs, a page for people ([`Report::html`]).

use std::collections::BTreeSet;
use std::fmt;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::runner::{Outcome, Verdict};
use super::versions::VERSIONS;
use crate::dictionary::Version;

/// All outcomes, in the order in which they are to be read.
pub struct Report {
    /// What was looked at, in one line.
    pub title: String,
    /// When it began, for people.
    pub when: String,
    pub outcomes: Vec<Outcome>,
}

/// How many of each verdict.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    title: &'a str,
    when: &'a str,
    totals: Totals,
    outcomes: Vec<JsonOutcome<'a>>,
}

#[derive(Serialize)]
struct JsonOutcome<'a> {
    scenario: &'a str,
    rule: &'a str,
    source: &'a str,
    version: &'a str,
    verdict: &'a str,
    took_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    transcript: &'a [String],
}

impl Verdict {
    /// One word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Empty where it passed.
    pub fn why(&self) -> &str {
        match self {
            Self::Passed => "",
            Self::Failed(failure) => &failure.what,
            Self::Skipped(reason) => reason,
        }
    }
}

impl Report {
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for outcome in &self.outcomes {
            match outcome.verdict {
                Verdict::Passed => totals.passed += 1,
                Verdict::Failed(_) => totals.failed += 1,
                Verdict::Skipped(_) => totals.skipped += 1,
            }
        }
        totals
    }

    /// Rule × version × verdict, then what failed and why.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        let versions = self.versions();
        match versions.as_slice() {
            [_] | [] => self.rows(&mut table),
            _ => self.matrix(&versions, &mut table),
        }
        let mut text = format!("{table}\n");
        for outcome in &self.outcomes {
            text.extend(outcome.failure_text());
        }
        text.push_str(&format!("{}\n", self.totals()));
        text
    }

    fn rows(&self, table: &mut Table) {
        table.set_header(["rule", "version", "verdict", "why"]);
        for outcome in &self.outcomes {
            let row = [outcome.rule.as_str(), outcome.version.name(), outcome.verdict.word(), outcome.verdict.why()];
            table.add_row(row);
        }
    }

    /// One row a rule; why something was skipped stands in the last column.
    fn matrix(&self, versions: &[Version], table: &mut Table) {
        let names = versions.iter().map(|version| version.name().trim_start_matches("FIX."));
        table.set_header(["rule"].into_iter().chain(names).chain(["skipped because"]));
        for rule in self.rules() {
            let of = |version| self.outcome(&rule.name, version);
            let words = versions.iter().map(|version| of(*version).map_or("", |outcome| outcome.verdict.word()));
            let mut reasons: Vec<String> = Vec::new();
            for outcome in versions.iter().filter_map(|version| of(*version)) {
                if let Verdict::Skipped(reason) = &outcome.verdict {
                    reasons.push(format!("{}: {reason}", outcome.version));
                }
            }
            let reasons = reasons.join("\n");
            table.add_row([rule.rule.as_str()].into_iter().chain(words).chain([reasons.as_str()]));
        }
    }

    /// Those that occur, in their order.
    pub(super) fn versions(&self) -> Vec<Version> {
        let occurs = |version: &Version| self.outcomes.iter().any(|outcome| outcome.version == *version);
        VERSIONS.into_iter().filter(occurs).collect()
    }

    /// The first outcome of each scenario.
    pub(super) fn rules(&self) -> Vec<&Outcome> {
        let mut seen = BTreeSet::new();
        self.outcomes.iter().filter(|outcome| seen.insert(&outcome.name)).collect()
    }

    pub(super) fn outcome(&self, name: &str, version: Version) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.name == name && outcome.version == version)
    }

    pub fn json(&self) -> String {
        let outcomes = self.outcomes.iter().map(|outcome| {
            let failure = match &outcome.verdict {
                Verdict::Failed(failure) => Some(failure),
                _ => None,
            };
            JsonOutcome {
                scenario: &outcome.name,
                rule: &outcome.rule,
                source: &outcome.source,
                version: outcome.version.name(),
                verdict: match outcome.verdict {
                    Verdict::Passed => "passed",
                    Verdict::Failed(_) => "failed",
                    Verdict::Skipped(_) => "skipped",
                },
                took_ms: outcome.took.as_millis() as u64,
                reason: Some(outcome.verdict.why()).filter(|why| !why.is_empty()),
                line: failure.map(|failure| failure.line),
                step: failure.map(|failure| failure.step.as_str()),
                transcript: failure.map_or(&[], |failure| &failure.transcript),
            }
        });
        let report =
            JsonReport { title: &self.title, when: &self.when, totals: self.totals(), outcomes: outcomes.collect() };
        // Strings and numbers alone: there is nothing in it that could not be written.
        serde_json::to_string_pretty(&report).unwrap_or_default()
    }

    /// A page that needs nothing but itself.
    pub fn html(&self) -> String {
        super::html::page(self)
    }
}

impl Outcome {
    /// Where a scenario failed, with everything that was said until then.
    pub fn failure_text(&self) -> Option<String> {
        let Verdict::Failed(failure) = &self.verdict else { return None };
        let mut text = format!(
            "\n{} FAILED: {}\n  {}.rule:{}: {}\n  {}\n",
            self.version, self.rule, self.name, failure.line, failure.step, failure.what
        );
        for line in &failure.transcript {
            text.extend(["    ", line, "\n"]);
        }
        Some(text)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::super::runner::Failure;
    use super::*;

    pub fn sample() -> Report {
        let outcome = |rule: &str, verdict| Outcome {
            name: rule.replace(' ', "-"),
            rule: rule.into(),
            source: "somewhere".into(),
            version: Version::Fix44,
            verdict,
            took: Duration::from_millis(7),
        };
        let failure = Failure {
            line: 9,
            step: "expect 0".into(),
            what: "nothing came".into(),
            transcript: vec!["> 8=FIX.4.4|58=<script>alert(1)</script>&|".into()],
        };
        let outcomes = vec![
            outcome("holds", Verdict::Passed),
            outcome("does <not>", Verdict::Failed(failure)),
            outcome("cannot be seen", Verdict::Skipped("needs echo".into())),
        ];
        Report { title: "US → \"THEM\"".into(), when: "today".into(), outcomes }
    }

    #[test]
    fn the_text_says_rule_version_and_verdict_and_where_it_failed() {
        let text = sample().text();
        for part in ["holds", "FIX.4.4", "passed", "does-<not>.rule:9: expect 0", "nothing came", "needs echo"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.ends_with("1 passed, 1 failed, 1 skipped\n"), "{text}");
    }

    #[test]
    fn of_several_versions_each_rule_is_one_row() {
        let mut report = sample();
        report.outcomes[2].version = Version::Fix50Sp2;
        report.outcomes[2].name = report.outcomes[0].name.clone();
        let text = report.text();
        let row = text.lines().find(|line| line.contains("holds")).unwrap();
        assert!(row.contains("passed") && row.contains("skipped"), "{text}");
        assert!(text.contains("FIX.5.0SP2: needs echo"), "{text}");
    }

    #[test]
    fn the_json_holds_each_outcome_and_the_reasons() {
        let json: serde_json::Value = serde_json::from_str(&sample().json()).unwrap();
        assert_eq!(json["totals"]["failed"], 1);
        assert_eq!(json["outcomes"][1]["line"], 9);
        assert_eq!(json["outcomes"][2]["reason"], "needs echo");
        assert!(json["outcomes"][0].get("reason").is_none());
    }
}
