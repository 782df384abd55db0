//! Measures how long placement takes for many VSIs, and for a tenth of them to show how the time grows.
//!
//! ```console
//! cargo bench -p vsiflow-workflows --bench placement -- [--json] [--vsis N] [--hosts N]
//! ```

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;
use vsiflow_workflows::{
    placement::{
        CapacityRecord, Decision, Needs, PlacedVsi, PlacementBoard, PlacementHost,
        PlacementRequest, PoolCapacity,
    },
    spec::PlacementSpec,
};

const GIB: u64 = 1 << 30;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let (mut vsis, mut hosts, mut as_json) = (10_000_usize, 200_usize, false);
    // Cargo adds `--bench`.
    let mut args = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(arg) = args.next() {
        let mut number =
            || -> Result<usize> { Ok(args.next().ok_or("a number is missing")?.parse()?) };
        match arg.as_str() {
            "--json" => as_json = true,
            "--vsis" => vsis = number()?,
            "--hosts" => hosts = number()?,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let (_, few) = choose(vsis / 10, hosts)?;
    let (first, took) = choose(vsis, hosts)?;
    let (second, _) = choose(vsis, hosts)?;
    if first != second {
        return Err("the same requests gave other choices".into());
    }
    let ratio = took.as_secs_f64() / few.as_secs_f64().max(f64::EPSILON);
    if as_json {
        println!(
            "{}",
            json!({"place_ms": took.as_millis(), "ratio_to_a_tenth": ratio})
        );
    } else {
        println!(
            "{vsis} VSIs on {hosts} hosts: {took:?} (aim: 1 s), {ratio:.1} times that of a tenth of them"
        );
    }
    Ok(())
}

fn choose(vsis: usize, hosts: usize) -> Result<(Vec<Decision>, Duration)> {
    let all: Vec<_> = (0..hosts).map(host).collect();
    let ids: Vec<_> = all.iter().map(|host| host.id.clone()).collect();
    let requests: Vec<_> = (0..vsis)
        .map(|number| request(number, &ids))
        .collect::<Result<_>>()?;
    let begun = Instant::now();
    let mut board = PlacementBoard::new(all);
    let decisions = requests.iter().map(|request| board.choose(request));
    let decisions: std::result::Result<Vec<_>, _> = decisions.collect();
    let took = begun.elapsed();
    let decisions = decisions.map_err(|unplaced| unplaced.to_string())?;
    Ok((decisions, took))
}

fn host(number: usize) -> PlacementHost {
    let id = format!("root@host-{number:03}:22");
    let pool = PoolCapacity {
        capacity: 10_000 * GIB,
        available: 10_000 * GIB,
    };
    PlacementHost {
        labels: BTreeMap::from([("zone".to_owned(), format!("z{}", number % 3))]),
        capacity: CapacityRecord {
            host: id.clone(),
            cpus: Some(64),
            memory: Some(512 * GIB),
            pools: BTreeMap::from([("images".to_owned(), pool)]),
            archs: BTreeMap::new(),
        },
        id,
        ..PlacementHost::default()
    }
}

fn request(number: usize, hosts: &[String]) -> Result<PlacementRequest> {
    let placement = match number % 4 {
        0 => json!({"spread": {"over": "host"}}),
        1 => json!({"spread": {"over": "label", "label": "zone"}}),
        2 => json!({"pack": true}),
        _ => json!({}),
    };
    let placement: PlacementSpec = serde_json::from_value(placement)?;
    Ok(PlacementRequest {
        vsi: PlacedVsi {
            namespace: "default".to_owned(),
            name: format!("v{number}"),
            pool: Some(format!("pool-{}", number % 8)),
            ..PlacedVsi::default()
        },
        placement: placement.into(),
        candidates: hosts.to_vec().into(),
        arch: "s390x".to_owned(),
        pool: "images".to_owned(),
        needs: Needs {
            cpus: 2,
            memory: 4 * GIB,
            pools: BTreeMap::from([("images".to_owned(), 10 * GIB)]),
        },
        ..PlacementRequest::default()
    })
}
