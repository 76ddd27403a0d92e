//! May this principal do that to this resource? Everyone may do everything for now; every handler asks nevertheless.

use super::context::RequestContext;

/// What may be done, with Kafka's numbers (`AclOperation`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are Kafka's own")]
#[repr(u8)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    ClusterAction = 9,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

/// What it may be done to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource<'a> {
    /// The cluster as a whole.
    Cluster,
    /// A topic, by name.
    Topic(&'a str),
    /// A transactional id.
    TransactionalId(&'a str),
    /// A group, by name.
    Group(&'a str),
}

/// What an API asks for, as its row in the catalogue says. Handlers ask for each topic by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Anyone connected may ask; answers are filtered by topic where there are topics.
    Nothing,
    /// This operation on each topic named.
    EachTopic(Operation),
    /// This operation on each group named.
    EachGroup(Operation),
    /// This operation on the cluster.
    Cluster(Operation),
}

/// Whether the one who asks may do it.
pub fn allowed(_context: &RequestContext, _operation: Operation, _resource: Resource<'_>) -> bool {
    true
}

/// The operations that the one who asks may do to a resource, one bit each at Kafka's number (KIP-430).
pub fn authorized_operations(context: &RequestContext, resource: Resource<'_>) -> i32 {
    use Operation::*;
    let possible: &[Operation] = match resource {
        Resource::Cluster => &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite],
        Resource::Topic(_) => &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs],
        Resource::TransactionalId(_) => &[Write, Describe],
        Resource::Group(_) => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
    };
    possible
        .iter()
        .filter(|operation| allowed(context, **operation, resource))
        .fold(0, |bits, operation| bits | 1 << *operation as u8)
}
