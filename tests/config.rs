//! Settings: who wins over whom, and one line that says what is wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use kvcache::config::{
    self, Config, Host, Invocation, Limits, SETTINGS, cgroup_files, memory_available,
};

const HOST: Host = Host { cpus: 2, memory_bytes: 1 << 30 };

fn kvcache(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvcache"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KVCACHE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(environment.iter().copied()).output().unwrap()
}

/// A configuration file named after its test.
fn file(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name).with_extension("toml");
    fs::write(&path, text).unwrap();
    path.into_os_string().into_string().unwrap()
}

fn read(arguments: &[&str]) -> Result<Config, String> {
    let arguments = std::iter::once("kvcache").chain(arguments.iter().copied());
    match config::read(arguments.map(OsString::from), [], HOST) {
        Ok(Invocation::Serve(config) | Invocation::Doctor(config) | Invocation::Health(config)) => {
            Ok(*config)
        }
        Ok(Invocation::Print(text)) => Err(text),
        Ok(Invocation::Load(arguments)) => Err(format!("load {arguments:?}")),
        Ok(Invocation::Inspect(file)) => Err(format!("inspect {}", file.display())),
        Err(error) => Err(error.to_string()),
    }
}

fn refused(arguments: &[&str], environment: &[(&str, &str)], expected: &str) {
    let output = kvcache(arguments, environment);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{arguments:?} {environment:?}: {line}");
    assert!(line.starts_with("kvcache: ") && line.contains(expected), "{expected}: {line}");
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_wrong_flag_is_one_line_and_exit_78() {
    let cases: &[(&[&str], &str)] = &[
        (&["--shards", "65"], "--shards: 65 is above the maximum of 64"),
        (&["serve", "--shards=0"], "--shards: 0 is below the minimum of 1"),
        (&["--shards", "-1"], "--shards: \"-1\" is not a whole number from 1 to 64"),
        (&["--shards", ""], "--shards: \"\" is not a whole number from 1 to 64"),
        (&["--shards", "2\n3"], "--shards: \"2\\n3\" is not a whole number from 1 to 64"),
        (&["--shards", "99999999999999999999999"], "is above the maximum of 64"),
        (&["--shard", "2"], "--shard: there is no such flag; did you mean --shards?"),
        (&["sevre"], "sevre: there is no such command; did you mean serve?"),
        (&["--shards"], "usage: a value is required for '--shards <N>'"),
        (&["--shards", "1", "--shards", "2"], "cannot be used multiple times"),
        (&["--listen", "7171"], "--listen: \"7171\" is not an address such as"),
        (&["--memory", "101%"], "--memory: 101% is above the maximum of 100%"),
        (&["--memory", "x%"], "--memory: \"x%\" is not a size such as"),
        (&["--shards=4", "--memory=3MiB"], "--memory: 3MiB is below the minimum of 4MiB"),
        (&["--memory", "9999TiB"], "--memory: 9999TiB is above the maximum of "),
        (&["--key-bytes-max", "1025"], "--key-bytes-max: 1025 is above the maximum of 1KiB"),
        (&["--value-bytes-max", "2MB"], "--value-bytes-max: 2MB is above the maximum of 1MiB"),
        (&["--body-bytes-max", "2KiB"], "--body-bytes-max: 2048 is below the 3200 needed"),
        (&["--default-ttl", "11y"], "--default-ttl: 11y is above the maximum of 10years"),
        (&["--idle-timeout", "0s"], "--idle-timeout: 0s is below the minimum of 1ms"),
        (&["--config", "/does/not/exist"], "--config: cannot read \"/does/not/exist\": No such"),
    ];
    for (arguments, expected) in cases {
        refused(arguments, &[], expected);
    }
}

#[test]
fn a_wrong_variable_and_a_wrong_file_are_named() {
    refused(&[], &[("KVCACHE_SHARDS", "65")], "KVCACHE_SHARDS: 65 is above the maximum of 64");
    refused(&[], &[("KVCACHE_CONFIG", "/nope")], "KVCACHE_CONFIG: cannot read \"/nope\": No such");
    let cases = [
        (
            "value",
            "shards = 2\nread-timeout = \"2\"\n",
            "value.toml: read-timeout: \"2\" is not a time",
        ),
        ("type", "shards = 2.5\n", "type.toml: shards: must be a string or a whole number"),
        ("syntax", "shards = 2\nmemory = = 3\n", "syntax.toml: line 2: "),
        ("unknown", "port = 3\n", "unknown.toml: port: there is no such setting"),
    ];
    for (name, text, expected) in cases {
        refused(&["--config", &file(name, text)], &[], expected);
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let file = file(
        "precedence",
        "shards = 5\nkey-bytes-max = \"1KiB\"\nspin-us = 7\nread-timeout = \"3s\"\n",
    );
    let output = kvcache(
        &["serve", "--print-config", "--shards", "3", "--config", &file],
        &[("KVCACHE_SHARDS", "4"), ("KVCACHE_KEY_BYTES_MAX", "300"), ("KVCACHE_SHARD", "9")],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "shards = 3 # flag",
        "key-bytes-max = 300 # environment",
        "spin-us = 7 # file",
        "read-timeout = \"3s\" # file",
        "write-timeout = \"2s\" # default",
        "# warning: KVCACHE_SHARD is set, but there is no such setting",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

#[test]
fn what_print_config_prints_is_a_file_that_says_the_same() {
    let printed = kvcache(&["--print-config", "--default-ttl", "90s"], &[]).stdout;
    let printed = String::from_utf8(printed).unwrap();
    let file = file("printed", &printed);
    let again = kvcache(&["--print-config"], &[("KVCACHE_CONFIG", &file)]).stdout;
    let values = |text: &str| text.parse::<toml::Table>().unwrap();
    assert_eq!(values(&printed), values(&String::from_utf8(again).unwrap()));
    assert_eq!(values(&printed).len(), SETTINGS.len());
}

#[test]
fn the_defaults_of_the_table_are_the_defaults_of_the_types() {
    let config = read(&[]).unwrap();
    assert_eq!(config.limits, Limits::default());
    let default = Config::default();
    assert_eq!((config.listen, config.admin_listen), (default.listen, default.admin_listen));
    assert_eq!((config.drain_timeout, config.spin), (default.drain_timeout, default.spin));
    assert_eq!((config.default_ttl, config.shards), (None, HOST.cpus));
    assert_eq!(config.memory_bytes, (1 << 30) / 100 * 60);
}

#[test]
fn values_arrive_where_they_belong() {
    let config = read(&[
        "--admin-listen=none",
        "--memory=1.2MB",
        "--shards=1",
        "--default-ttl=1h 30m",
        "--spin-us=50",
        "--connections-max=20000",
        "--value-bytes-max=1MiB",
    ])
    .unwrap();
    assert_eq!(config.admin_listen, None);
    assert_eq!(config.memory_bytes, 1_200_000);
    assert_eq!(config.default_ttl, Some(Duration::from_mins(90)));
    assert_eq!(config.spin, Duration::from_micros(50));
    assert_eq!(config.limits.hop_requests_max, 20_000);
    assert_eq!(config.limits.body_bytes_max, (1 << 20) + 6 * ((1 << 20) + 256) + 128);
    config.limits.check().unwrap();
}

#[test]
fn the_admin_listener_takes_an_address_a_socket_file_or_none() {
    for text in ["127.0.0.1:7172", "unix:/run/kvcache/admin.sock", "unix:none", "none"] {
        let config = read(&[&format!("--admin-listen={text}")]).unwrap();
        assert_eq!(config.effective()["admin-listen"], text);
        assert_eq!(config.admin_listen.is_none(), text == "none");
    }
    refused(&["--admin-listen=unix:"], &[], "--admin-listen: a file has a name");
    let long = format!("--admin-listen=unix:/{}", "x".repeat(107));
    refused(&[&long], &[], "--admin-listen: the path has 108 bytes; at most 107 go");
}

#[test]
fn a_limit_that_another_one_needs_larger_is_named() {
    let limits = Limits { hop_requests_max: 9_999, ..Limits::default() };
    let error = limits.check().unwrap_err();
    assert_eq!(error, "hop-requests-max: 9999 is below the 10000 needed for every connection");
}

#[test]
fn memory_is_what_the_narrowest_cgroup_leaves() {
    let meminfo = "MemTotal:        2097152 kB\nMemFree:         1048576 kB\n";
    let available = |limits: &[&str]| {
        memory_available(meminfo, &limits.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(available(&[]), 2 << 30);
    assert_eq!(available(&["max\n"]), 2 << 30);
    assert_eq!(available(&["9223372036854771712\n"]), 2 << 30, "v1 without a limit");
    assert_eq!(available(&["max\n", "536870912\n", "1073741824\n"]), 512 << 20);

    let files = |cgroups: &str| -> Vec<String> {
        cgroup_files(cgroups).iter().map(|file| file.display().to_string()).collect()
    };
    let v2 = ["a/b/memory.max", "a/memory.max", "memory.max"];
    assert_eq!(files("0::/a/b\n"), v2.map(|file| format!("/sys/fs/cgroup/{file}")));
    let v1 = ["memory/a/memory.limit_in_bytes", "memory/memory.limit_in_bytes"];
    let v1 = v1.map(|file| format!("/sys/fs/cgroup/{file}"));
    assert_eq!(files("5:cpu,cpuacct:/x\n4:hugetlb,memory:/a\n"), v1);
}

#[test]
fn help_and_readme_say_what_the_table_says() {
    let readme = fs::read_to_string("README.md").unwrap();
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `--")).collect();
    let expected: Vec<String> = SETTINGS
        .iter()
        .map(|setting| {
            let (name, default, help) = (setting.name, setting.default, setting.help);
            format!(
                "| `--{name}` | `{default}` | {} | {help} |",
                setting.bounds().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(rows, expected, "README.md should say\n{}", expected.join("\n"));

    let help = String::from_utf8(kvcache(&["--help"], &[]).stdout).unwrap();
    for setting in SETTINGS {
        let flag = format!("--{} <", setting.name);
        let line = help.lines().find(|line| line.contains(&flag)).unwrap_or_default();
        assert!(line.contains(setting.help) && line.contains(setting.default), "{flag}: {line}");
    }
    let version = kvcache(&["--version"], &[]);
    assert_eq!(version.stdout, concat!("kvcache ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
}

#[test]
fn both_listeners_on_one_port_are_refused() {
    for (listen, admin) in [
        ("127.0.0.1:7171", "127.0.0.1:7171"),
        ("0.0.0.0:7171", "127.0.0.1:7171"),
        ("127.0.0.1:7171", "[::]:7171"),
    ] {
        let error = read(&["--listen", listen, "--admin-listen", admin]).unwrap_err();
        assert_eq!(error, format!("--admin-listen: {admin} is taken by --listen {listen}"));
    }
    for (listen, admin) in [
        ("127.0.0.1:7171", "127.0.0.2:7171"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:7171", "127.0.0.1:7172"),
    ] {
        assert!(read(&["--listen", listen, "--admin-listen", admin]).is_ok());
    }
}

#[test]
fn what_the_samples_of_the_service_comment_out_is_the_default() {
    let uncommented = |path: &str| {
        let sample = fs::read_to_string(path).unwrap();
        let lines = sample.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.split(' ').next().is_some_and(|word| !word.is_empty()) => {
                setting
            }
            _ => line,
        });
        lines.filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    let defaults = read(&[]).unwrap().effective();
    let file = file("sample", &uncommented("systemd/kvcache.toml"));
    assert_eq!(read(&["--config", &file]).unwrap().effective(), defaults);

    let variables = uncommented("systemd/kvcache.default");
    let mut variables = variables.lines().filter_map(|line| line.split_once('='));
    assert_eq!(variables.next(), Some(("KVCACHE_CONFIG", "/etc/kvcache/kvcache.toml")));
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    let read = config::read([OsString::from("kvcache")], variables, HOST);
    let Ok(Invocation::Serve(config)) = read else { panic!("not taken: {read:?}") };
    // Snapshots are off where nothing is said.
    for (name, value) in config.effective().iter().filter(|(name, _)| !name.starts_with("snapshot"))
    {
        assert_eq!(value, &defaults[name], "{name}");
    }
}
