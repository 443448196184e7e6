//! Images that read a secret from a file, and by which variable.
//!
//! Only what an image's own documentation says is here: a wrong entry would send someone into a
//! container that does not start.

/// How a variable names its file variant.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// `PASSWORD_FILE`
    Suffix(&'static str),
    /// `FILE__PASSWORD`
    Prefix(&'static str),
}

/// The variables that have one.
#[derive(Debug, Clone, Copy)]
enum Variables {
    /// These.
    Named(&'static [&'static str]),
    /// All that begin like this; an empty beginning is for all.
    Begin(&'static str),
}

const FILE: Form = Form::Suffix("_FILE");
const POSTGRES: Variables = Variables::Named(&["POSTGRES_PASSWORD", "POSTGRES_USER", "POSTGRES_DB"]);
const MYSQL: Variables =
    Variables::Named(&["MYSQL_ROOT_PASSWORD", "MYSQL_PASSWORD", "MYSQL_USER", "MYSQL_DATABASE"]);
const MARIADB: Variables = Variables::Named(&[
    "MARIADB_ROOT_PASSWORD",
    "MARIADB_PASSWORD",
    "MARIADB_USER",
    "MARIADB_DATABASE",
    "MYSQL_ROOT_PASSWORD",
    "MYSQL_PASSWORD",
    "MYSQL_USER",
    "MYSQL_DATABASE",
]);
const NEXTCLOUD: Variables = Variables::Named(&[
    "NEXTCLOUD_ADMIN_PASSWORD",
    "NEXTCLOUD_ADMIN_USER",
    "MYSQL_PASSWORD",
    "MYSQL_USER",
    "MYSQL_DATABASE",
    "POSTGRES_PASSWORD",
    "POSTGRES_USER",
    "POSTGRES_DB",
    "REDIS_HOST_PASSWORD",
    "SMTP_PASSWORD",
    "OBJECTSTORE_S3_KEY",
    "OBJECTSTORE_S3_SECRET",
]);

/// Images without registry `docker.io`, tag and digest; one that ends in `/` is for all below it.
const KNOWN: &[(&str, Variables, Form)] = &[
    ("postgres", POSTGRES, FILE),
    ("postgis/postgis", POSTGRES, FILE),
    ("pgvector/pgvector", POSTGRES, FILE),
    ("timescale/timescaledb", POSTGRES, FILE),
    ("mysql", MYSQL, FILE),
    ("mariadb", MARIADB, FILE),
    ("mongo", Variables::Named(&["MONGO_INITDB_ROOT_PASSWORD", "MONGO_INITDB_ROOT_USERNAME"]), FILE),
    ("nextcloud", NEXTCLOUD, FILE),
    ("wordpress", Variables::Begin("WORDPRESS_"), FILE),
    ("minio/minio", Variables::Named(&["MINIO_ROOT_PASSWORD", "MINIO_ROOT_USER"]), FILE),
    (
        "influxdb",
        Variables::Named(&[
            "DOCKER_INFLUXDB_INIT_PASSWORD",
            "DOCKER_INFLUXDB_INIT_USERNAME",
            "DOCKER_INFLUXDB_INIT_ADMIN_TOKEN",
        ]),
        FILE,
    ),
    ("vaultwarden/server", Variables::Begin(""), FILE),
    ("ghcr.io/dani-garcia/vaultwarden", Variables::Begin(""), FILE),
    ("authelia/authelia", Variables::Begin("AUTHELIA_"), FILE),
    ("ghcr.io/authelia/authelia", Variables::Begin("AUTHELIA_"), FILE),
    ("ghcr.io/paperless-ngx/paperless-ngx", Variables::Begin("PAPERLESS_"), FILE),
    (
        "ghcr.io/immich-app/immich-server",
        Variables::Named(&["DB_PASSWORD", "DB_USERNAME", "REDIS_PASSWORD"]),
        FILE,
    ),
    ("grafana/grafana", Variables::Begin("GF_"), Form::Suffix("__FILE")),
    ("grafana/grafana-oss", Variables::Begin("GF_"), Form::Suffix("__FILE")),
    ("grafana/grafana-enterprise", Variables::Begin("GF_"), Form::Suffix("__FILE")),
    ("gitea/gitea", Variables::Begin("GITEA__"), Form::Suffix("__FILE")),
    ("codeberg.org/forgejo/forgejo", Variables::Begin("FORGEJO__"), Form::Suffix("__FILE")),
    ("linuxserver/", Variables::Begin(""), Form::Prefix("FILE__")),
    ("lscr.io/linuxserver/", Variables::Begin(""), Form::Prefix("FILE__")),
    ("ghcr.io/linuxserver/", Variables::Begin(""), Form::Prefix("FILE__")),
];

/// The variable that an image reads a file's name from, instead of this variable.
pub(super) fn file_variant(image: &str, variable: &str) -> Option<String> {
    let image = name(image);
    let of_image = |(known, ..): &&(&str, Variables, Form)| {
        image == *known || (known.ends_with('/') && image.starts_with(known))
    };
    let (_, variables, form) = KNOWN.iter().find(of_image)?;
    let has = match variables {
        Variables::Named(names) => names.contains(&variable),
        Variables::Begin(begin) => variable.starts_with(begin),
    };
    has.then(|| match form {
        Form::Suffix(suffix) => format!("{variable}{suffix}"),
        Form::Prefix(prefix) => format!("{prefix}{variable}"),
    })
}

/// An image's name as the table has it.
fn name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let image = match image.rsplit_once(':') {
        // A colon before a slash parts a registry from its port.
        Some((name, tag)) if !tag.contains('/') => name,
        Some(_) | None => image,
    };
    let here = ["docker.io/", "index.docker.io/"].iter().find_map(|registry| image.strip_prefix(registry));
    let image = here.unwrap_or(image);
    image.strip_prefix("library/").unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_any_spelling() {
        for (image, variable, expected) in [
            ("postgres", "POSTGRES_PASSWORD", Some("POSTGRES_PASSWORD_FILE")),
            ("docker.io/library/postgres:16-alpine", "POSTGRES_PASSWORD", Some("POSTGRES_PASSWORD_FILE")),
            ("postgres@sha256:00", "POSTGRES_PASSWORD", Some("POSTGRES_PASSWORD_FILE")),
            ("postgres:16", "PGPASSWORD", None),
            ("localhost:5000/postgres", "POSTGRES_PASSWORD", None),
            ("lscr.io/linuxserver/sonarr:latest", "API_KEY", Some("FILE__API_KEY")),
            ("grafana/grafana:11", "GF_SECURITY_ADMIN_PASSWORD", Some("GF_SECURITY_ADMIN_PASSWORD__FILE")),
            (
                "codeberg.org/forgejo/forgejo:9",
                "FORGEJO__database__PASSWD",
                Some("FORGEJO__database__PASSWD__FILE"),
            ),
            ("redis:7", "REDIS_PASSWORD", None),
            ("someone/mariadb", "MARIADB_PASSWORD", None),
        ] {
            assert_eq!(file_variant(image, variable).as_deref(), expected, "{image} {variable}");
        }
    }
}
