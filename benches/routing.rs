//! Finding the application of a request, with few and with many applications.

#![allow(
    missing_docs,
    reason = "criterion_group! generates an undocumented item"
)]

use std::hint::black_box;
use std::sync::Arc;

use authentik_proxy::model::Authority;
use authentik_proxy::route::Table;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// `hosts` applications of their own host, one more for all of `home.test`.
fn table(hosts: usize) -> Table<usize> {
    let mut table = Table::default();
    for number in 0..hosts {
        let host = format!("app{number}.apps.test");
        table.insert(&host, None, "", None, Arc::new(number));
    }
    let domain = Some("home.test");
    table.insert("auth.home.test", None, "", domain, Arc::new(hosts));
    table
}

fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing");
    for hosts in [10, 1_000, 10_000] {
        let table = table(hosts);
        let exact = format!("app{}.apps.test", hosts / 2);
        for (name, host, expected) in [
            ("exact", exact.as_str(), Some(hosts / 2)),
            ("domain", "a.b.c.home.test", Some(hosts)),
            ("miss", "a.b.c.elsewhere.test", None),
        ] {
            let find = |host: &str| {
                let authority = Authority::parse(host).expect("a host");
                table.find(&authority, "/d/overview").map(|site| **site)
            };
            assert_eq!(find(host), expected, "{name}");
            group.bench_with_input(BenchmarkId::new(name, hosts), host, |bencher, host| {
                bencher.iter(|| find(black_box(host)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, routing);
criterion_main!(benches);
