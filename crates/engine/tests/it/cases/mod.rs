mod build;
mod images;
mod load;
mod owner;
mod run;

/// Each case as a test on either engine.
macro_rules! suite {
    ($($module:ident::$case:ident),* $(,)?) => {
        mod docker {
            $(#[test] fn $case() {
                crate::bench::on("DOCKER_HOST", stringify!($case), super::$module::$case);
            })*
        }
        mod podman {
            $(#[test] fn $case() {
                crate::bench::on("PODMAN_HOST", stringify!($case), super::$module::$case);
            })*
        }
    };
}

suite![
    build::an_image_is_built,
    build::arguments_target_and_labels_count,
    build::a_failed_build_is_none_although_the_tag_exists,
    build::a_syntax_error_has_file_and_line,
    build::a_missing_dockerfile_is_told,
    build::a_missing_base_image_is_told,
    build::a_large_context_is_refused,
    build::a_broken_context_is_told,
    build::earlier_results_are_taken_or_not,
    build::platform_and_pull_policy_are_asked_for,
    build::an_images_layers_serve_as_earlier_results,
    build::hosts_and_network_are_set,
    build::secrets_are_in_no_layer,
    build::a_cache_mount_survives,
    build::an_ssh_agent_may_be_asked,
    build::a_cancelled_build_leaves_nothing,
    build::a_dropped_build_leaves_nothing,
    run::a_command_runs_to_its_end,
    run::a_container_is_as_its_spec_says,
    run::mounts_are_there,
    run::limits_hold,
    run::rights_are_given_and_taken,
    run::failures_are_told_apart,
    run::too_much_memory_is_told,
    run::a_time_limit_holds,
    run::signals_are_passed_on,
    run::a_name_can_be_had_once,
    run::much_output_is_not_lost,
    run::a_cancelled_run_leaves_nothing,
    run::a_dropped_run_leaves_nothing,
    run::commands_run_in_a_container,
    run::files_are_copied_in_and_out,
    run::a_container_becomes_an_image,
    images::an_image_has_names,
    images::a_pushed_image_can_be_pulled,
    images::credentials_are_needed_and_used,
    images::registries_refuse_and_fail,
    images::a_cancelled_push_ends,
    images::images_come_from_a_source,
    images::images_go_to_a_source,
    images::a_wrong_archive_is_refused,
    load::a_long_log_takes_little_memory,
    owner::what_a_killed_process_left_is_removed,
    owner::events_are_told,
    owner::the_engine_says_what_it_is,
];
