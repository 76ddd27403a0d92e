//! `coretide group`.

use std::collections::BTreeMap;
use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{To, delete_each};
use crate::base::Map;
use crate::cli::show::{Part, Shown, write};
use crate::cli::time::parse_time;
use crate::cli::{Exit, Refusal};
use crate::client::{Client, GroupMember, GroupOffset, When};

/// What can be done with consumer groups.
#[derive(Subcommand, Debug)]
pub enum Group {
    /// List groups
    List {
        #[command(flatten)]
        to: To,
    },
    /// Describe a group: members, committed offsets and lag
    Describe {
        /// Its name
        group: String,
        #[command(flatten)]
        to: To,
    },
    /// Move the committed offsets of a group that nobody is in
    ///
    /// Shows what would be done; --execute does it.
    Reset(Reset),
    /// Delete groups that nobody is in, with their offsets
    Delete {
        /// Their names
        #[arg(required = true)]
        groups: Vec<String>,
        #[command(flatten)]
        to: To,
    },
}

/// Flags of `group reset`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("where").required(true))]
pub struct Reset {
    /// The group's name
    group: String,
    /// A topic, or some of its partitions; repeatable [default: all that the group has offsets for]
    #[arg(long, short, value_name = "TOPIC[:0,1]", value_parser = some_partitions)]
    topic: Vec<(String, Vec<i32>)>,
    /// To the first record there is
    #[arg(long, group = "where")]
    to_start: bool,
    /// Behind the last record there is
    #[arg(long, group = "where")]
    to_end: bool,
    /// To this offset
    #[arg(long, value_name = "N", group = "where")]
    to_offset: Option<i64>,
    /// To the first record that is not older than this (UTC, or ms since 1970)
    #[arg(long, value_name = "TIME", group = "where", value_parser = parse_time)]
    to_time: Option<i64>,
    /// By so many records forward, or back
    #[arg(long, value_name = "N", group = "where", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    to: To,
}

fn some_partitions(text: &str) -> Result<(String, Vec<i32>), String> {
    let Some((topic, partitions)) = text.rsplit_once(':') else { return Ok((text.to_owned(), Vec::new())) };
    let partitions: Result<Vec<i32>, _> = partitions.split(',').map(str::parse).collect();
    Ok((topic.to_owned(), partitions.map_err(|_| format!("{text:?} is not TOPIC:0,1"))?))
}

pub(super) fn run(group: &Group, out: &mut dyn Write) -> Result<(), Refusal> {
    match group {
        Group::List { to } => {
            let groups = to.connect()?.groups()?;
            let row = |group: &crate::client::ListedGroup| {
                vec![group.group.clone(), group.state.clone(), group.protocol_type.clone(), group.kind.clone()]
            };
            let parts = vec![Part::Table(&["group", "state", "protocol", "type"], groups.iter().map(row).collect())];
            let json = groups.iter().map(
                |g| json!({ "group": g.group, "state": g.state, "protocol_type": g.protocol_type, "type": g.kind }),
            );
            let json = json.collect();
            write(out, &Shown { parts, json }, to.json)
        }
        Group::Describe { group, to } => write(out, &describe(&mut to.connect()?, group)?, to.json),
        Group::Reset(reset) => {
            let mut client = reset.to.connect()?;
            let moves = plan(&mut client, reset)?;
            let mut parts =
                vec![Part::Table(&["topic", "partition", "from", "to"], moves.iter().map(Move::row).collect())];
            if reset.execute {
                let offsets: Vec<_> = moves.iter().map(|found| found.to.clone()).collect();
                client.commit_offsets(&reset.group, &offsets)?;
            } else {
                parts.push(Part::Line("nothing was changed; --execute does it".into()));
            }
            let json: Vec<_> = moves
                .iter()
                .map(|m| json!({ "topic": m.to.topic, "partition": m.to.partition, "from": m.from, "to": m.to.offset }))
                .collect();
            let json = json!({ "group": reset.group, "executed": reset.execute, "offsets": json });
            write(out, &Shown { parts, json }, reset.to.json)
        }
        Group::Delete { groups, to } => {
            let mut client = to.connect()?;
            delete_each("group", groups, to, out, |group| client.delete_group(group))
        }
    }
}

fn describe(client: &mut Client, name: &str) -> Result<Shown, Refusal> {
    let group = client.describe_group(name)?;
    let group = group.ok_or_else(|| Refusal::new(Exit::Usage, format!("there is no group {name:?}")))?;
    let offsets = client.group_offsets(name)?;
    let held = held(&group.members, &offsets);
    let mut ends: Map<(&str, i32), i64> = Map::default();
    let places: Vec<_> = held.keys().copied().collect();
    for chunk in places.chunk_by(|a, b| a.0 == b.0) {
        let topic = chunk[0].0;
        // A topic or partition that is not there has no end: assignments are whatever a client made up.
        let count = client.leaders(topic).map_or(0, <[_]>::len);
        let there = |partition: &i32| usize::try_from(*partition).is_ok_and(|partition| partition < count);
        let partitions: Vec<i32> = chunk.iter().map(|place| place.1).filter(there).collect();
        if let Ok(found) = client.offsets(topic, &partitions, When::End) {
            ends.extend(partitions.into_iter().map(|partition| (topic, partition)).zip(found));
        }
    }
    let (mut rows, mut json) = (Vec::new(), Vec::new());
    for ((topic, partition), (offset, by)) in held {
        let end = ends.get(&(topic, partition)).copied();
        let lag = end.zip(offset).map(|(end, offset)| end.saturating_sub(offset).max(0));
        let text = |number: Option<i64>| number.map_or_else(|| "-".into(), |number| number.to_string());
        rows.push(vec![
            topic.to_owned(),
            partition.to_string(),
            text(offset),
            text(end),
            text(lag),
            by.unwrap_or("-").to_owned(),
        ]);
        json.push(json!({
            "topic": topic, "partition": partition, "offset": offset, "end": end, "lag": lag, "client": by,
        }));
    }
    let mut head = format!("group {}  {}  {} {}", group.group, group.state, group.protocol_type, group.protocol);
    if let Some((epoch, assigned)) = group.epochs {
        head += &format!("  type {}, epoch {epoch}, assignment of epoch {assigned}", group.kind);
    }
    let mut parts =
        vec![Part::Line(head), Part::Table(&["topic", "partition", "offset", "end", "lag", "client"], rows)];
    if !group.members.is_empty() {
        let row = |member: &GroupMember| {
            let held = member.partitions.len().to_string();
            let mut row = vec![member.id.clone(), member.client_id.clone(), member.host.clone(), held];
            row.extend(member.epoch.iter().flat_map(|epoch| [member.target.len().to_string(), epoch.to_string()]));
            row
        };
        let columns: &[_] = match group.epochs {
            Some(_) => &["member", "client", "host", "partitions", "target", "epoch"],
            None => &["member", "client", "host", "partitions"],
        };
        parts.push(Part::Line(String::new()));
        parts.push(Part::Table(columns, group.members.iter().map(row).collect()));
    }
    let members: Vec<_> = group
        .members
        .iter()
        .map(|m| {
            json!({
                "member": m.id, "instance": m.instance, "client": m.client_id, "host": m.host, "epoch": m.epoch,
                "partitions": m.partitions, "target": m.epoch.map(|_| &m.target),
            })
        })
        .collect();
    let (epoch, assignment_epoch) = group.epochs.unzip();
    let json = json!({
        "group": group.group, "state": group.state, "type": group.kind, "protocol_type": group.protocol_type,
        "protocol": group.protocol, "epoch": epoch, "assignment_epoch": assignment_epoch,
        "members": members, "offsets": json,
    });
    Ok(Shown { parts, json })
}

/// The partitions of a group: what it committed, and whose client has it now. Either may be missing, not both.
fn held<'a>(members: &'a [GroupMember], offsets: &'a [GroupOffset]) -> BTreeMap<(&'a str, i32), Held<'a>> {
    let committed = |offset: &'a GroupOffset| ((&*offset.topic, offset.partition), (Some(offset.offset), None));
    let mut held: BTreeMap<_, Held<'a>> = offsets.iter().map(committed).collect();
    for member in members {
        for (topic, partition) in &member.partitions {
            held.entry((topic, *partition)).or_default().1.get_or_insert(&member.client_id);
        }
    }
    held
}

/// The committed offset and the client's name.
type Held<'a> = (Option<i64>, Option<&'a str>);

/// One offset that moves.
struct Move {
    from: Option<i64>,
    to: GroupOffset,
}

impl Move {
    fn row(&self) -> Vec<String> {
        let from = self.from.map_or_else(|| "-".into(), |from| from.to_string());
        vec![self.to.topic.clone(), self.to.partition.to_string(), from, self.to.offset.to_string()]
    }
}

fn plan(client: &mut Client, reset: &Reset) -> Result<Vec<Move>, Refusal> {
    if let Some(group) = client.describe_group(&reset.group)?
        && !group.members.is_empty()
    {
        return Err(Refusal::new(
            Exit::Refused,
            format!("group {:?} has {} members; stop them first", reset.group, group.members.len()),
        ));
    }
    let committed = client.group_offsets(&reset.group)?;
    let mut wanted = reset.topic.clone();
    if wanted.is_empty() {
        for chunk in committed.chunk_by(|a, b| a.topic == b.topic) {
            wanted.push((chunk[0].topic.clone(), chunk.iter().map(|offset| offset.partition).collect()));
        }
    }
    if wanted.is_empty() {
        return Err(Refusal::new(
            Exit::Usage,
            format!("group {:?} has no offsets; name what to set with --topic", reset.group),
        ));
    }
    let mut moves = Vec::new();
    for (topic, mut partitions) in wanted {
        if partitions.is_empty() {
            partitions = (0..).take(client.leaders(&topic)?.len()).collect();
        }
        partitions.sort_unstable();
        partitions.dedup();
        let starts = client.offsets(&topic, &partitions, When::Start)?;
        let ends = client.offsets(&topic, &partitions, When::End)?;
        let at_time = match reset.to_time {
            Some(time) => client.offsets(&topic, &partitions, When::Time(time))?,
            None => Vec::new(),
        };
        for (at, &partition) in partitions.iter().enumerate() {
            let found = committed.iter().find(|found| found.topic == topic && found.partition == partition);
            let from = found.map(|found| found.offset);
            let target = if reset.to_start {
                starts[at]
            } else if reset.to_end {
                ends[at]
            } else if let Some(offset) = reset.to_offset {
                offset
            } else if let Some(by) = reset.shift_by {
                from.unwrap_or(starts[at]).saturating_add(by)
            } else {
                at_time[at]
            };
            // As Kafka's tool does: an offset that is not there becomes the nearest one that is.
            let offset = target.clamp(starts[at], ends[at].max(starts[at]));
            moves.push(Move { from, to: GroupOffset { topic: topic.clone(), partition, offset } });
        }
    }
    Ok(moves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_member_has_is_seen_before_it_commits() {
        let member = |client: &str, partitions: &[i32]| GroupMember {
            id: String::new(),
            instance: None,
            client_id: client.into(),
            host: String::new(),
            epoch: None,
            target: Vec::new(),
            partitions: partitions.iter().map(|partition| ("t".into(), *partition)).collect(),
        };
        let offset = |partition, offset| GroupOffset { topic: "t".into(), partition, offset };
        let (members, offsets) = ([member("a", &[2, 1]), member("b", &[2])], [offset(0, 7), offset(1, 8)]);
        let held: Vec<_> = held(&members, &offsets).into_iter().collect();
        let expected = [(("t", 0), (Some(7), None)), (("t", 1), (Some(8), Some("a"))), (("t", 2), (None, Some("a")))];
        assert_eq!(held, expected);
    }

    #[test]
    fn partitions_may_stand_behind_a_topic() {
        assert_eq!(some_partitions("t"), Ok(("t".into(), vec![])));
        assert_eq!(some_partitions("a.b:0,12"), Ok(("a.b".into(), vec![0, 12])));
        assert!(some_partitions("t:x").is_err() && some_partitions("t:").is_err());
    }
}
