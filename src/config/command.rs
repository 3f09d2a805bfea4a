//! The command line as its parser has it: commands, flags and help.

use super::table::{SETTINGS, Setting};
use std::path::PathBuf;

/// The command that has flags of its own.
pub(super) const LOAD: &str = "load";

fn help(setting: &Setting) -> String {
    let (help, default) = (setting.help, setting.default);
    match setting.bounds() {
        Some(bounds) => format!("{help} [{bounds}; default {default}]"),
        None => format!("{help} [default {default}]"),
    }
}

pub(super) fn command() -> clap::Command {
    let settings = SETTINGS.iter().map(|setting| {
        clap::Arg::new(setting.name)
            .long(setting.name)
            .value_name(setting.kind.value_name())
            .help(help(setting))
            .allow_negative_numbers(true)
            .global(true)
    });
    clap::Command::new("kvcache")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .disable_help_subcommand(true)
        // One line for each setting, however wide the terminal.
        .term_width(0)
        .subcommand(clap::Command::new("serve").about("Run the server (the default)"))
        .subcommand(
            clap::Command::new("doctor").about("Say what this host offers and lacks, and exit"),
        )
        .subcommand(
            clap::Command::new("health")
                .about("Exit with 0 if the server of these settings answers, else with 1"),
        )
        .subcommand(
            clap::Command::new("snapshot")
                .about("Look at a snapshot")
                .disable_help_subcommand(true)
                .subcommand_required(true)
                .subcommand(
                    clap::Command::new("inspect")
                        .about("Say what a snapshot holds and whether it is whole, and exit")
                        .arg(
                            clap::Arg::new("FILE")
                                .required(true)
                                .value_parser(clap::value_parser!(PathBuf)),
                        ),
                ),
        )
        .subcommand(
            clap::Command::new(LOAD).about("Load a server and check its answers; see load --help"),
        )
        .args(settings)
        .arg(
            clap::Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help("TOML file of settings")
                .global(true),
        )
        .arg(
            clap::Arg::new("print-config")
                .long("print-config")
                .help("Print every setting and where it came from, and exit")
                .action(clap::ArgAction::SetTrue)
                .global(true),
        )
        .after_help(
            "Each setting is also an environment variable (KVCACHE_READ_TIMEOUT for --read-timeout) \
             and a key of the file.\n\
             A flag wins over the environment, the environment over the file.",
        )
}
