//! The keys of a compose file, and what may stand at each.
//!
//! They are those of the compose specification as Compose 2.40 has it (compose-spec, `schema/compose-spec.json`).
//! Older versions refuse some: that is for Compose itself to say. Where versions differ over a value, the widest
//! form stands here.

use super::shape::Shape::{
    self, Any, Count, Either, Flag, Length, List, Map, Named, Number, OneOf, Port, Size, Text,
};

type Keys = &'static [(&'static str, Shape)];

const TEXTS: Shape = Either(&[Text, List(&Text)]);
const LIST: Shape = List(&Text);
/// Names with values, or a list of `NAME=value`.
const PAIRS: Shape = Either(&[Named(&Any), LIST]);
const ANYTHING_NAMED: Shape = Named(&Any);

/// A whole file.
pub(super) const FILE: Shape = Map(&[
    ("name", Text),
    ("version", Any),
    ("include", List(&Either(&[Text, Map(INCLUDE)]))),
    ("services", Named(&Map(SERVICE))),
    ("networks", Named(&Map(NETWORK))),
    ("volumes", Named(&Map(VOLUME))),
    ("secrets", Named(&Map(SECRET))),
    ("configs", Named(&Map(CONFIG))),
    ("models", Named(&Map(MODEL))),
]);

const INCLUDE: Keys = &[("path", TEXTS), ("env_file", TEXTS), ("project_directory", Text)];

const SERVICE: Keys = &[
    ("annotations", PAIRS),
    ("attach", Flag),
    ("blkio_config", Map(BLOCK_IO)),
    ("build", Either(&[Text, Map(BUILD)])),
    ("cap_add", LIST),
    ("cap_drop", LIST),
    ("cgroup", Text),
    ("cgroup_parent", Text),
    ("command", TEXTS),
    ("configs", List(&Either(&[Text, Map(GRANT)]))),
    ("container_name", Text),
    ("cpu_count", Count),
    ("cpu_percent", Number),
    ("cpu_period", Any),
    ("cpu_quota", Any),
    ("cpu_rt_period", Any),
    ("cpu_rt_runtime", Any),
    ("cpu_shares", Number),
    ("cpus", Number),
    ("cpuset", Text),
    ("credential_spec", Map(&[("config", Text), ("file", Text), ("registry", Text)])),
    ("depends_on", Either(&[LIST, Named(&Map(DEPENDENCY))])),
    ("deploy", Map(DEPLOY)),
    ("develop", Map(&[("watch", List(&Map(WATCH)))])),
    ("device_cgroup_rules", LIST),
    ("devices", List(&Either(&[Text, Map(&[("source", Text), ("target", Text), ("permissions", Text)])]))),
    ("dns", TEXTS),
    ("dns_opt", LIST),
    ("dns_search", TEXTS),
    ("domainname", Text),
    ("entrypoint", TEXTS),
    ("env_file", Either(&[Text, List(&Either(&[Text, Map(ENV_FILE)]))])),
    ("environment", PAIRS),
    ("expose", List(&Any)),
    ("extends", Either(&[Text, Map(&[("service", Text), ("file", Text)])])),
    ("external_links", LIST),
    ("extra_hosts", PAIRS),
    ("gpus", Either(&[Text, List(&Map(DEVICE))])),
    ("group_add", List(&Any)),
    ("healthcheck", Map(HEALTHCHECK)),
    ("hostname", Text),
    ("image", Text),
    ("init", Flag),
    ("ipc", Text),
    ("isolation", Text),
    ("label_file", TEXTS),
    ("labels", PAIRS),
    ("links", LIST),
    ("logging", Map(&[("driver", Text), ("options", ANYTHING_NAMED)])),
    ("mac_address", Text),
    ("mem_limit", Size),
    ("mem_reservation", Size),
    ("mem_swappiness", Any),
    ("memswap_limit", Size),
    ("models", Either(&[LIST, Named(&Map(&[("endpoint_var", Text), ("model_var", Text)]))])),
    ("network_mode", Text),
    ("networks", Either(&[LIST, Named(&Map(CONNECTION))])),
    ("oom_kill_disable", Flag),
    ("oom_score_adj", Count),
    ("pid", Text),
    ("pids_limit", Number),
    ("platform", Text),
    ("ports", List(&Either(&[Port, Map(PORT)]))),
    ("post_start", List(&Map(HOOK))),
    ("pre_stop", List(&Map(HOOK))),
    ("privileged", Flag),
    ("profiles", LIST),
    ("provider", Map(&[("type", Text), ("options", ANYTHING_NAMED)])),
    ("pull_policy", Text),
    ("pull_refresh_after", Text),
    ("read_only", Flag),
    ("restart", Text),
    ("runtime", Text),
    ("scale", Count),
    ("secrets", List(&Either(&[Text, Map(GRANT)]))),
    ("security_opt", LIST),
    ("shm_size", Size),
    ("stdin_open", Flag),
    ("stop_grace_period", Length),
    ("stop_signal", Text),
    ("storage_opt", ANYTHING_NAMED),
    ("sysctls", PAIRS),
    ("tmpfs", TEXTS),
    ("tty", Flag),
    ("ulimits", Named(&Either(&[Any, Map(&[("soft", Any), ("hard", Any)])]))),
    ("use_api_socket", Flag),
    ("user", Text),
    ("userns_mode", Text),
    ("uts", Text),
    ("volumes", List(&Either(&[Text, Map(MOUNT)]))),
    ("volumes_from", LIST),
    ("working_dir", Text),
];

const BLOCK_IO: Keys = &[
    ("device_read_bps", List(&Map(RATE))),
    ("device_read_iops", List(&Map(RATE))),
    ("device_write_bps", List(&Map(RATE))),
    ("device_write_iops", List(&Map(RATE))),
    ("weight", Any),
    ("weight_device", List(&Map(&[("path", Text), ("weight", Any)]))),
];
const RATE: Keys = &[("path", Text), ("rate", Any)];

const BUILD: Keys = &[
    ("additional_contexts", PAIRS),
    ("args", PAIRS),
    ("cache_from", LIST),
    ("cache_to", LIST),
    ("context", Text),
    ("dockerfile", Text),
    ("dockerfile_inline", Text),
    ("entitlements", LIST),
    ("extra_hosts", PAIRS),
    ("isolation", Text),
    ("labels", PAIRS),
    ("network", Text),
    ("no_cache", Flag),
    ("platforms", LIST),
    ("privileged", Flag),
    ("provenance", Any),
    ("pull", Flag),
    ("sbom", Any),
    ("secrets", List(&Either(&[Text, Map(GRANT)]))),
    ("shm_size", Size),
    ("ssh", PAIRS),
    ("tags", LIST),
    ("target", Text),
    ("ulimits", Named(&Either(&[Any, Map(&[("soft", Any), ("hard", Any)])]))),
];

const GRANT: Keys = &[("source", Text), ("target", Text), ("uid", Text), ("gid", Text), ("mode", Any)];

const DEPENDENCY: Keys = &[
    ("condition", OneOf(&["service_started", "service_healthy", "service_completed_successfully"])),
    ("required", Flag),
    ("restart", Flag),
];

const DEPLOY: Keys = &[
    ("endpoint_mode", Text),
    ("labels", PAIRS),
    ("mode", Text),
    (
        "placement",
        Map(&[
            ("constraints", LIST),
            ("max_replicas_per_node", Count),
            ("preferences", List(&Map(&[("spread", Text)]))),
        ]),
    ),
    ("replicas", Count),
    ("resources", Map(&[("limits", Map(LIMITS)), ("reservations", Map(RESERVATIONS))])),
    (
        "restart_policy",
        Map(&[("condition", Text), ("delay", Length), ("max_attempts", Count), ("window", Length)]),
    ),
    ("rollback_config", Map(UPDATE)),
    ("update_config", Map(UPDATE)),
];
const LIMITS: Keys = &[("cpus", Number), ("memory", Size), ("pids", Count)];
const RESERVATIONS: Keys = &[
    ("cpus", Number),
    ("devices", List(&Map(DEVICE))),
    ("generic_resources", List(&Map(&[("discrete_resource_spec", Map(&[("kind", Text), ("value", Any)]))]))),
    ("memory", Size),
];
const DEVICE: Keys =
    &[("capabilities", LIST), ("count", Any), ("device_ids", LIST), ("driver", Text), ("options", PAIRS)];
const UPDATE: Keys = &[
    ("delay", Length),
    ("failure_action", Text),
    ("max_failure_ratio", Number),
    ("monitor", Length),
    ("order", OneOf(&["start-first", "stop-first"])),
    ("parallelism", Count),
];

const WATCH: Keys = &[
    ("action", Text),
    ("exec", Map(HOOK)),
    ("ignore", TEXTS),
    ("include", TEXTS),
    ("initial_sync", Flag),
    ("path", Text),
    ("target", Text),
];
const HOOK: Keys = &[
    ("command", TEXTS),
    ("environment", PAIRS),
    ("privileged", Flag),
    ("user", Text),
    ("working_dir", Text),
];

const ENV_FILE: Keys = &[("format", Text), ("path", Text), ("required", Flag)];

const HEALTHCHECK: Keys = &[
    ("disable", Flag),
    ("interval", Length),
    ("retries", Any),
    ("start_interval", Length),
    ("start_period", Length),
    ("test", TEXTS),
    ("timeout", Length),
];

const CONNECTION: Keys = &[
    ("aliases", LIST),
    ("driver_opts", ANYTHING_NAMED),
    ("gw_priority", Any),
    ("interface_name", Text),
    ("ipv4_address", Text),
    ("ipv6_address", Text),
    ("link_local_ips", LIST),
    ("mac_address", Text),
    ("priority", Any),
];

const PORT: Keys = &[
    ("app_protocol", Text),
    ("host_ip", Text),
    ("mode", Text),
    ("name", Text),
    ("protocol", Text),
    ("published", Any),
    ("target", Count),
];

const MOUNT: Keys = &[
    (
        "bind",
        Map(&[("create_host_path", Flag), ("propagation", Text), ("recursive", Text), ("selinux", Text)]),
    ),
    ("consistency", Text),
    ("image", Map(&[("subpath", Text)])),
    ("read_only", Flag),
    ("source", Text),
    ("target", Text),
    ("tmpfs", Map(&[("mode", Any), ("size", Size)])),
    ("type", Text),
    ("volume", Map(&[("labels", PAIRS), ("nocopy", Flag), ("subpath", Text)])),
];

const EXTERNAL: Shape = Either(&[Flag, Map(&[("name", Text)])]);
const NETWORK: Keys = &[
    ("attachable", Flag),
    ("driver", Text),
    ("driver_opts", ANYTHING_NAMED),
    ("enable_ipv4", Flag),
    ("enable_ipv6", Flag),
    ("external", EXTERNAL),
    ("internal", Flag),
    ("ipam", Map(&[("config", List(&Map(POOL))), ("driver", Text), ("options", ANYTHING_NAMED)])),
    ("labels", PAIRS),
    ("name", Text),
];
const POOL: Keys =
    &[("aux_addresses", ANYTHING_NAMED), ("gateway", Text), ("ip_range", Text), ("subnet", Text)];
const VOLUME: Keys = &[
    ("driver", Text),
    ("driver_opts", ANYTHING_NAMED),
    ("external", EXTERNAL),
    ("labels", PAIRS),
    ("name", Text),
];
const SECRET: Keys = &[
    ("driver", Text),
    ("driver_opts", ANYTHING_NAMED),
    ("environment", Text),
    ("external", EXTERNAL),
    ("file", Text),
    ("labels", PAIRS),
    ("name", Text),
    ("template_driver", Text),
];
const CONFIG: Keys = &[
    ("content", Text),
    ("environment", Text),
    ("external", EXTERNAL),
    ("file", Text),
    ("labels", PAIRS),
    ("name", Text),
    ("template_driver", Text),
];
const MODEL: Keys = &[("context_size", Count), ("model", Text), ("name", Text), ("runtime_flags", LIST)];
