//! What two real servers sent, read by the control plane.

mod providers;

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, header};
use tokio::sync::{Notify, watch};
use url::Url;
use uuid::Uuid;

use super::api::{Api, ApiError, FetchedConfig};
use super::certificates::Certificates;
use super::compile::{Compiler, Known};
use super::wire::{self, Event, Frame};
use super::{Context, Refresher, Reloadable, Settings, Signals};
use crate::admin::Readiness;
use crate::clock::Clock;
use crate::config::Egress;
use crate::config::Policies;
use crate::model::Outpost;
use crate::recordings::{Recording, both, text};
use crate::replay::Replay;
use crate::route::{Live, Site, Store};
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Metrics;
use crate::web::client::BackChannel;
use crate::web::client::rest::RestError;
use crate::web::client::trust::TlsOptions;
use crate::web::header::files::HeaderFiles;

fn control(base: &str, browser: Option<Url>) -> Context {
    let clock = Clock::manual(1_795_488_000);
    Context {
        settings: Settings {
            host: Url::parse(base).expect("a URL"),
            is_socket: false,
            host_browser: browser,
            outpost_id: None,
            refresh_interval: None,
            certificates: false,
            cache_file: None,
            refresh_jitter: Duration::ZERO,
            reconnect_backoff_max: Duration::from_secs(1),
            heartbeat_interval: Duration::from_secs(10),
            introspection_interval: Duration::from_mins(1),
            introspections_per_second: 1,
        },
        live: Live::default(),
        store: Store::memory(clock.clone(), None),
        back_channel: BackChannel::new(
            &TlsOptions::default(),
            Duration::from_secs(10),
            &Egress::default(),
        )
        .expect("a client"),
        reloadable: watch::Sender::new(Arc::new(Reloadable {
            token: "token".into(),
            policies: Policies::default(),
            send_jwt: true,
            reauthorize_interval: None,
            header_files: HeaderFiles::default(),
        })),
        secret_refused: Arc::default(),
        clock,
        metrics: Metrics::new(),
        readiness: Readiness::default(),
        log: LogHandle::disconnected(),
    }
}

/// The sites of all recorded providers, for browsers that reach authentik at `browser`.
pub(crate) fn sites(recording: &Recording, browser: Option<Url>) -> Vec<Arc<Site>> {
    let record = &recording.api["api"]["outposts"]["body"]["results"][0];
    let outpost: wire::Outpost = serde_json::from_value(record.clone()).expect("an outpost");
    let control = control(text(&recording.api["base"]), browser);
    let compiler = Compiler {
        control: &control,
        settings: &control.reloadable(),
        outpost: &Outpost {
            id: outpost.pk,
            name: outpost.name,
            embedded: false,
            authentik_host: Url::parse(&outpost.config.authentik_host).ok(),
            log_level: None,
            refresh_interval_s: 300,
            version: Some("1".into()),
        },
        certificates: &Certificates::new(),
        reuse: false,
    };
    let records: Vec<_> = recording.providers().cloned().collect();
    compiler.table(&records, &Known::new()).0.sites().to_vec()
}

#[tokio::test]
async fn a_recorded_configuration_is_loaded_page_by_page() {
    for recording in both() {
        let replay = Replay::start().await;
        let recording = recording.moved_to(&replay.base);
        let api = &recording.api["api"];
        replay.plays([&api["version"], &api["outposts"]]);
        replay.plays(api["providers"].as_array().expect("pages"));
        let control = control(&replay.base, None);
        let signals = Signals {
            update: Notify::new(),
            gap: Notify::new(),
            presence: Notify::new(),
            outpost: watch::Sender::new(None),
        };
        let interval = Refresher::new(&control).fetch(&signals).await;
        assert_eq!(interval.expect("a configuration").as_secs(), 300);

        let record = &api["outposts"]["body"]["results"][0];
        let expected = Outpost {
            id: Uuid::parse_str(text(&record["pk"])).expect("an id"),
            name: text(&record["name"]).into(),
            embedded: false,
            authentik_host: Url::parse(text(&record["config"]["authentik_host"])).ok(),
            log_level: Some("debug".into()),
            refresh_interval_s: 300,
            version: Some(text(&api["version"]["body"]["version_current"]).into()),
        };
        let snapshot = control.live.load_full();
        assert_eq!(snapshot.outpost.as_ref(), Some(&expected));
        assert_eq!(snapshot.table.sites().len(), recording.providers().count());

        let asked = replay.asked();
        let paths: Vec<_> = asked
            .iter()
            .map(|request| request.uri().to_string())
            .collect();
        let page = |number| format!("/api/v3/outposts/proxy/?page={number}&page_size=100");
        assert_eq!(paths[0], text(&api["version"]["path"]));
        assert!(
            paths[1].starts_with(text(&api["outposts"]["path"])),
            "{}",
            paths[1]
        );
        assert_eq!(paths[2..], [page(1), page(2), page(3)]);
        for request in asked {
            assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer token");
        }
    }
}

#[tokio::test]
async fn recorded_refusals_are_told_apart() {
    for recording in both() {
        let replay = Replay::start().await;
        let control = control(&replay.base, None);
        let token = control.reloadable().token.clone();
        let api = Api::new(&control.settings, &token, &control.back_channel);
        let answers = &recording.api["api"];
        let asked = async |name: &str, wanted| {
            replay.plays([&answers[name]]);
            match api.outposts().await {
                Err(error) => error,
                Ok(outposts) => {
                    let answers = FetchedConfig {
                        version: None,
                        outposts,
                        providers: Vec::new(),
                    };
                    answers.outpost(wanted).expect_err(name)
                }
            }
        };
        for name in ["wrong_token", "no_token", "rotated_token"] {
            let error = asked(name, None).await;
            assert!(
                matches!(
                    error,
                    ApiError::Token {
                        status: StatusCode::FORBIDDEN,
                        ..
                    }
                ),
                "{name}: {error}"
            );
        }
        for name in ["no_slash", "page_beyond_the_end"] {
            let error = asked(name, None).await;
            assert!(
                matches!(
                    error,
                    ApiError::Rest(RestError::Status {
                        status: StatusCode::NOT_FOUND,
                        ..
                    })
                ),
                "{name}: {error}"
            );
        }
        let error = asked("live", None).await;
        assert!(
            matches!(error, ApiError::Rest(RestError::NotJson { .. })),
            "{error}"
        );
        let error = asked("version", None).await;
        assert!(
            matches!(error, ApiError::Rest(RestError::Shape { .. })),
            "{error}"
        );
        let error = asked("no_outpost", None).await;
        assert!(matches!(error, ApiError::NoOutpost), "{error}");
        let error = asked("outposts", Some(Uuid::max())).await;
        assert!(matches!(error, ApiError::OtherOutpost { .. }), "{error}");
    }
}

#[test]
fn recorded_frames_are_understood() {
    for (recording, session_end) in both().iter().zip([3, 4]) {
        let frames = recording.api["websocket"]["frames"].as_array();
        let mut instructions = Vec::new();
        for frame in frames
            .expect("frames")
            .iter()
            .filter(|frame| frame["opcode"] == "text")
        {
            let frame = text(&frame["text"]);
            let raw: serde_json::Value = serde_json::from_str(frame).expect("JSON");
            let instruction = raw["instruction"].as_i64().expect("a number");
            instructions.push(instruction);
            let expected = match instruction {
                0 => Event::Acknowledged,
                2 => Event::Update,
                _ => Event::SessionEnd(text(&raw["args"]["session_id"]).into()),
            };
            let parsed: Frame = serde_json::from_str(frame).expect(frame);
            assert_eq!(parsed.event(), expected, "{frame}");
        }
        assert_eq!(instructions, [0, 2, session_end]);
    }
}
