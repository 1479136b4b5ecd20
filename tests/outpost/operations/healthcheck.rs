//! The command that a container's health is asked by.

use crate::operations::process::{run, with_grafana};

#[tokio::test]
async fn healthcheck_tells_whether_the_program_runs() {
    let mut world = with_grafana(&[]).await;
    let metrics = world.outpost.metrics().to_string();
    let http = world.address().to_string();
    let variables = [("AUTHENTIK_LISTEN__METRICS", metrics.as_str())];
    // Without a metrics listener, the listener for requests is asked.
    let none = [
        ("AUTHENTIK_LISTEN__METRICS", "none"),
        ("AUTHENTIK_LISTEN__HTTP", &http),
    ];
    for variables in [&variables[..], &none] {
        // The second is what authentik's Docker integration runs since 2026.8.
        for arguments in [&["healthcheck"][..], &["healthcheck", "proxy"]] {
            let (status, output, complaints) = run(arguments, variables).await;
            assert_eq!(status.code(), Some(0), "{complaints}");
            assert_eq!((output.as_str(), complaints.as_str()), ("", ""));
        }
    }
    world.outpost.stop().await;
    let (status, _, complaints) = run(&["healthcheck"], &variables).await;
    assert_eq!(status.code(), Some(1));
    assert!(
        complaints.contains(&format!("not healthy: {metrics}: ")),
        "{complaints}"
    );
}
