//! All scenarios, in their order: those that need no VM come first, the audit and the end of the farm last.

mod backup;
mod clone_files;
mod description;
mod end;
mod full;
mod garbage;
mod joining;
mod kills;
mod life;
mod moves;
mod requests;
mod strangers;

use crate::harness::Scenario;

macro_rules! scenarios {
    ($($module:ident::$name:ident),* $(,)?) => {
        vec![$(Scenario {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |farm| Box::pin($module::$name(farm)),
        }),*]
    };
}

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    scenarios![
        clone_files::a_bad_clone_file_makes_nothing,
        clone_files::clones_from_a_file_answer,
        joining::a_join_token_is_good_once,
        strangers::without_the_farms_certificate_no_agent_answers,
        strangers::without_the_token_the_manager_says_nothing,
        requests::wrong_requests_get_an_error_in_json,
        moves::a_vm_moves_under_load_and_back,
        moves::a_cancelled_move_leaves_the_vm_where_it_is,
        moves::a_destination_that_refuses_says_why,
        moves::a_guest_that_outruns_its_move_stays,
        moves::moves_of_one_application_do_not_overlap,
        garbage::garbage_on_the_sockets_stops_nothing,
        kills::an_agent_killed_under_load_is_not_noticed,
        kills::an_agent_killed_during_a_move_leaves_the_vm_running,
        kills::a_manager_killed_during_a_move_finds_out_how_it_ended,
        full::a_full_datastore_refuses_clones_and_holds_vms,
        description::the_description_says_what_the_server_answers,
        backup::a_backup_brings_the_farm_back,
        life::a_vm_stops_starts_and_goes_without_a_trace,
        end::no_order_is_lost_or_doubled,
        end::nothing_is_left_of_the_lab,
    ]
}
