//! A job as people name it: its id, the beginning of one that no other job shares, or `last`.
//!
//! Ids sort by the time of their making, and a list of jobs begins behind any id, so one short list finds a beginning
//! among any number of jobs, and tells if it is not the only one.

use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;
use uuid::Uuid;

use super::client::Client;
use super::show::text;

/// What is shown of an id at least: the time of its making, to the millisecond.
const SHOWN: usize = 13;
const HEX_DIGITS: usize = 32;
/// Fewer say too little to be meant.
const LEAST_DIGITS: usize = 4;

/// The job that a command is about.
#[derive(Args, Debug)]
pub(super) struct JobArgument {
    /// The job: its id, the beginning of one that no other job shares, or `last`
    job: JobName,
}

impl JobArgument {
    /// Its path on the server.
    pub(super) async fn path(&self, client: &Client) -> Result<String> {
        self.job.path(client).await
    }
}

/// A job's name.
#[derive(Clone, Debug)]
pub(super) enum JobName {
    /// The newest job of the server.
    Last,
    /// The first hexadecimal digits of an id, or all.
    Digits(String),
}

impl FromStr for JobName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let id = name.rsplit_once("/v1/jobs/").map_or(name, |(_, id)| id);
        let digits = id.replace('-', "").to_ascii_lowercase();
        let is_id = digits.bytes().all(|digit| digit.is_ascii_hexdigit())
            && (LEAST_DIGITS..=HEX_DIGITS).contains(&digits.len());
        match id {
            "last" => Ok(Self::Last),
            _ if is_id => Ok(Self::Digits(digits)),
            _ => Err(
                "write a job's id, at least the first 4 characters of it, or last; `gristmill jobs` lists \
                      them"
                    .into(),
            ),
        }
    }
}

impl JobName {
    /// The job's path on the server.
    pub(super) async fn path(&self, client: &Client) -> Result<String> {
        let id = match self {
            Self::Last => last(client).await?,
            Self::Digits(digits) if digits.len() == HEX_DIGITS => hyphenated(digits),
            Self::Digits(digits) => only(client, digits).await?,
        };
        Ok(format!("/v1/jobs/{id}"))
    }
}

async fn last(client: &Client) -> Result<String> {
    match &ids(client, "limit=1").await?[..] {
        [newest] => Ok(newest.clone()),
        _ => bail!("there are no jobs yet; `gristmill submit` makes one"),
    }
}

/// The only id that begins with these digits.
async fn only(client: &Client, digits: &str) -> Result<String> {
    let mut found = ids(client, &format!("limit=4{}", up_to_those_with(digits))).await?;
    found.retain(|id| id.replace('-', "").starts_with(digits));
    match &found[..] {
        [only] => Ok(only.clone()),
        [] => bail!("there is no job whose id begins with {digits}; `gristmill jobs` lists those there are"),
        several => {
            bail!("several jobs begin with {digits}, such as {}; write more of it", several.join(", "))
        }
    }
}

/// From where on a list, newest first, begins with the ids that begin with these digits.
fn up_to_those_with(digits: &str) -> String {
    let last = u128::from_str_radix(&format!("{digits:f<HEX_DIGITS$}"), 16).unwrap_or(u128::MAX);
    // Nothing is above the highest of all.
    last.checked_add(1)
        .map_or_else(String::new, |next| format!("&after={}", Uuid::from_u128(next).hyphenated()))
}

async fn ids(client: &Client, query: &str) -> Result<Vec<String>> {
    let page = client.get(&format!("/v1/jobs?{query}")).await?;
    Ok(page["items"].as_array().into_iter().flatten().map(|job| text(&job["id"]).to_owned()).collect())
}

fn hyphenated(digits: &str) -> String {
    Uuid::try_parse(digits).map_or_else(|_| digits.to_owned(), |id| id.hyphenated().to_string())
}

/// As much of each id as tells it from the others, in the same order.
pub(super) fn shortened(ids: &[&str]) -> Vec<String> {
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    ids.iter()
        .map(|id| {
            let others = ids.iter().filter(|other| *other != id);
            let needed = others.map(|other| common(id, other) + 1).max().unwrap_or(0).max(SHOWN);
            id.get(..needed).unwrap_or(id).to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_begins_with_the_last_id_that_the_digits_may_mean() {
        let after = up_to_those_with("0190b5f77c4d7abc8def0123456789a");
        assert_eq!(after, "&after=0190b5f7-7c4d-7abc-8def-0123456789b0", "…af is below it");
        assert_eq!(up_to_those_with("ffff"), "");
    }

    #[test]
    fn jobs_are_named_as_they_are_shown() {
        let id = "0190b5f7-7c4d-7abc-8def-0123456789ab";
        for name in
            [id, "0190b5f7-7c4d", "0190B5F7", "/v1/jobs/0190b5f7", "http://a:1/v1/jobs/0190b5f7", "last"]
        {
            assert!(name.parse::<JobName>().is_ok(), "{name}");
        }
        for name in ["", "019", "nightly", "Last", "../pool", &format!("{id}0")] {
            assert!(name.parse::<JobName>().is_err(), "{name}");
        }
    }

    #[test]
    fn ids_are_shown_as_far_as_they_differ() {
        let ids = ["0190b5f7-7c4d-7abc-8def", "0190b5f7-7c4d-7abd-8def", "0190b5f7-7c4e-7abc-8def"];
        assert_eq!(shortened(&ids), ["0190b5f7-7c4d-7abc", "0190b5f7-7c4d-7abd", "0190b5f7-7c4e"]);
        assert_eq!(shortened(&ids[..1]), ["0190b5f7-7c4d"]);
    }
}
