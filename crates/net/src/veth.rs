//! Virtual cables: two interfaces, what enters one leaves the other.

use crate::command::NetError;
use crate::link;
use crate::netns::Netns;

/// Lays a cable between two namespaces and sets both ends up. A cable whose two ends exist is left as it is; one of
/// which only one end does (its other end was renamed, or lives elsewhere) is replaced.
///
/// # Errors
/// As [`crate::command::run`].
pub fn ensure(
    left: &Netns,
    left_name: &str,
    right: &Netns,
    right_name: &str,
) -> Result<(), NetError> {
    link::check_name(left_name)?;
    link::check_name(right_name)?;
    let found = (link::find(left, left_name)?, link::find(right, right_name)?);
    if !matches!(&found, (Some(_), Some(_))) {
        link::remove(left, left_name)?;
        link::remove(right, right_name)?;
        create(left, left_name, right, right_name)?;
    }
    link::set_up(left, left_name)?;
    link::set_up(right, right_name)
}

fn create(left: &Netns, left_name: &str, right: &Netns, right_name: &str) -> Result<(), NetError> {
    let mut arguments = vec![
        "link", "add", "name", left_name, "type", "veth", "peer", "name", right_name,
    ];
    // `ip -n LEFT` with the peer's `netns` makes both ends in their places at once: no name is taken in passing.
    match right {
        Netns::Named(name) => arguments.extend(["netns", name.as_str()]),
        Netns::Here if *left != Netns::Here => {
            return create(right, right_name, left, left_name);
        }
        Netns::Here => {}
    }
    left.ip(&arguments).map(drop)
}

/// Pulls the cable out: both ends go. None there is no error.
///
/// # Errors
/// As [`crate::command::run`].
pub fn remove(netns: &Netns, name: &str) -> Result<(), NetError> {
    link::remove(netns, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ScratchNetns;

    #[test]
    fn a_cable_joins_two_namespaces_and_goes_as_one() {
        let (left, right) = (ScratchNetns::new(), ScratchNetns::new());
        ensure(&left, "l0", &right, "r0").unwrap();
        ensure(&left, "l0", &right, "r0").unwrap();
        let end = link::find(&right, "r0").unwrap().unwrap();
        assert_eq!(end.kind(), Some("veth"));
        assert!(end.is_up());
        remove(&left, "l0").unwrap();
        assert_eq!(link::find(&right, "r0").unwrap(), None);
        remove(&left, "l0").unwrap();
    }
}
