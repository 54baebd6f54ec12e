//! Tests that need real processes: this program starts itself again as a keeper, as an agent
//! that gets killed, or as one of many that claim the same epoch. Hence no test harness: a
//! keeper must be on the main thread of a process of its own.

mod agents;
mod endings;
mod keepers;
mod race;
mod support;

use std::{env, path::Path, process::ExitCode};

/// A test; it panics if it fails.
type Test = fn();

const TESTS: &[(&str, Test)] = &[
    (
        "spawns_lists_and_reports_exits",
        keepers::spawns_lists_and_reports_exits,
    ),
    (
        "a_child_is_set_apart_from_its_keeper",
        keepers::a_child_is_set_apart_from_its_keeper,
    ),
    (
        "refuses_what_makes_no_sense",
        keepers::refuses_what_makes_no_sense,
    ),
    (
        "a_second_keeper_is_refused",
        keepers::a_second_keeper_is_refused,
    ),
    (
        "garbage_ends_that_connection_only",
        keepers::garbage_ends_that_connection_only,
    ),
    (
        "a_client_that_does_not_wait_for_answers_harms_nobody",
        keepers::a_client_that_does_not_wait_for_answers_harms_nobody,
    ),
    ("a_full_log_harms_nobody", endings::a_full_log_harms_nobody),
    (
        "children_die_with_a_killed_keeper",
        endings::children_die_with_a_killed_keeper,
    ),
    (
        "a_survivor_of_a_dead_keeper_blocks_its_vm",
        endings::a_survivor_of_a_dead_keeper_blocks_its_vm,
    ),
    (
        "shutdown_waits_for_the_children",
        endings::shutdown_waits_for_the_children,
    ),
    (
        "a_terminated_keeper_ends_with_its_last_child",
        endings::a_terminated_keeper_ends_with_its_last_child,
    ),
    (
        "many_clients_at_once_get_one_keeper",
        keepers::many_clients_at_once_get_one_keeper,
    ),
    (
        "vms_outlive_a_killed_agent",
        agents::vms_outlive_a_killed_agent,
    ),
    (
        "exits_of_the_meantime_arrive_after_reconnecting",
        agents::exits_of_the_meantime_arrive_after_reconnecting,
    ),
    (
        "a_replaced_keeper_is_noticed",
        agents::a_replaced_keeper_is_noticed,
    ),
    (
        "a_number_of_a_former_keeper_hides_nothing",
        agents::a_number_of_a_former_keeper_hides_nothing,
    ),
    (
        "many_processes_race_and_one_wins",
        race::many_processes_race_and_one_wins,
    ),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["keeper", "--run-dir", dir] => return keepers::be_a_keeper(Path::new(dir)),
        ["agent", dir] => agents::be_an_agent(Path::new(dir)),
        ["claim", datastore, vm, host] => return race::claim(Path::new(datastore), vm, host),
        _ => {}
    }
    let wanted = |name: &str| {
        let mut filters = args.iter().filter(|arg| !arg.starts_with('-')).peekable();
        filters.peek().is_none() || filters.any(|filter| name.contains(filter))
    };
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        println!("test {name} …");
        test();
    }
    println!("test result: ok");
    ExitCode::SUCCESS
}
