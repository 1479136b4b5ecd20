# `just` lists what there is.
_default:
    @just --list

# a stand-in for authentik, applications and the outpost: http://grafana.localhost:8080/
demo *arguments:
    cargo run --package authentik-proxy-demo -- {{ arguments }}

# every check, or the tests with a word in their names: just test gateway
test *filter:
    {{ if filter == "" { "./scripts/test.sh" } else { "cargo test --workspace --all-features -- --include-ignored " + filter } }}

# format and lints only
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# one benchmark, or all that measure requests and the store
bench *name="auth_check routing login store":
    cargo bench --all-features {{ prepend("--bench ", name) }}

# the program next to others, from outside, see docs/PERFORMANCE.md
compare *arguments:
    python3 benches/compare {{ arguments }}

# look at an outpost's configuration and surroundings, with the environment of the server
doctor *arguments:
    cargo run --all-features -- doctor {{ arguments }}

# what a release runs
release:
    ./scripts/test.sh --full
    ./scripts/release.sh
