//! Calls and events on a real libvirtd.

use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid as RawUuid;

use super::*;
use crate::events::{EventReceived, lifecycle};
use crate::protocol::{
    AddressSource, MetadataKind, domain_flags, domain_state, shutoff_reason, storage_flags,
};

fn domain_xml(name: &str, uuid: RawUuid) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory>\
         <vcpu>1</vcpu><os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type></os>\
         <devices><memballoon model='none'/></devices></domain>"
    )
}

#[tokio::test]
async fn lab_the_host_says_who_it_is() {
    let Some(lab) = Lab::enter() else { return };
    for (way, session) in lab.both() {
        let calls = control(&session).await;
        assert_eq!(calls.connect_get_type().await.unwrap(), "QEMU", "{way}");
        assert!(calls.connect_get_lib_version().await.unwrap().0 >= 9_000_000);
        assert!(calls.connect_get_version().await.unwrap().0 >= 1_000_000);
        assert!(!calls.connect_get_hostname().await.unwrap().is_empty());
        assert!(
            calls
                .connect_get_capabilities()
                .await
                .unwrap()
                .contains("<host>")
        );
        let offered = calls
            .connect_get_domain_capabilities(Some("s390x"), None, Some("qemu"))
            .await
            .unwrap();
        assert!(offered.contains("s390-ccw-virtio"));
        assert!(calls.node_get_info().await.unwrap().memory > 0);
        session.close().await;
    }
}

#[tokio::test]
async fn lab_all_domains_tell_what_they_use_in_one_call() {
    let Some(lab) = Lab::enter() else { return };
    for (way, session) in lab.both() {
        let calls = control(&session).await;
        let uuid = RawUuid::new_v4();
        let name = format!("t-{uuid}");
        let xml = domain_xml(&name, uuid);
        let domain = calls.domain_define_xml_flags(&xml, 1).await.unwrap();
        calls
            .domain_create_with_flags(&domain, domain_flags::START_PAUSED)
            .await
            .unwrap();
        let all = calls.connect_get_all_domain_stats().await.unwrap();
        let own = all.iter().find(|one| one.domain.uuid.0 == uuid);
        let used = own.unwrap_or_else(|| panic!("{way}: {all:?}")).used;
        assert!(used.cpu_time.is_some(), "{way}: {used:?}");
        assert_eq!(used.balloon, Some(64 * 1024), "{way}: {used:?}");
        calls.domain_destroy_flags(&domain, 0).await.unwrap();
        let rest = calls.connect_get_all_domain_stats().await.unwrap();
        assert!(!rest.iter().any(|one| one.domain.uuid.0 == uuid), "{way}");
        calls.domain_undefine_flags(&domain, 0).await.unwrap();
        session.close().await;
    }
}

#[tokio::test]
async fn lab_a_domain_lives_and_dies_and_events_tell() {
    let Some(lab) = Lab::enter() else { return };
    for (way, session) in lab.both() {
        let calls = control(&session).await;
        let uuid = RawUuid::new_v4();
        let name = format!("t-{uuid}");
        let missing = calls.domain_lookup_by_uuid(uuid.into()).await.unwrap_err();
        assert!(missing.is_absent(), "{way}: {missing}");
        let mut events = calls.domain_events().await.unwrap();

        let domain = calls
            .domain_define_xml_flags(&domain_xml(&name, uuid), 1)
            .await
            .unwrap();
        assert_eq!((domain.uuid.0, domain.id), (uuid, -1));
        calls.domain_set_autostart(&domain, true).await.unwrap();
        assert!(calls.domain_get_autostart(&domain).await.unwrap());
        let title =
            |text| calls.domain_set_metadata(&domain, MetadataKind::Title, text, None, None, 2);
        title(Some("a title")).await.unwrap();
        let found = calls
            .domain_get_metadata(&domain, MetadataKind::Title, None, 2)
            .await
            .unwrap();
        assert_eq!(found, "a title");
        title(None).await.unwrap();
        let gone = calls
            .domain_get_metadata(&domain, MetadataKind::Title, None, 2)
            .await;
        assert_eq!(
            gone.unwrap_err().code(),
            Some(crate::code::NO_DOMAIN_METADATA)
        );
        let element = Some("<a n='1'/>");
        calls
            .domain_set_metadata(
                &domain,
                MetadataKind::Element,
                element,
                Some("v"),
                Some("urn:v"),
                2,
            )
            .await
            .unwrap();

        // Paused, because a guest without disks stops on its own.
        let paused = domain_flags::START_PAUSED;
        let running = calls
            .domain_create_with_flags(&domain, paused)
            .await
            .unwrap();
        assert!(running.id > 0);
        assert!(calls.domain_is_active(&domain).await.unwrap());
        assert_eq!(
            calls.domain_get_state(&domain).await.unwrap().state,
            domain_state::PAUSED
        );
        let again = calls
            .domain_create_with_flags(&domain, 0)
            .await
            .unwrap_err();
        assert_eq!(again.code(), Some(crate::code::OPERATION_INVALID));
        assert_eq!(
            calls.domain_get_info(&domain).await.unwrap().max_memory,
            64 * 1024
        );
        let addresses = calls
            .domain_interface_addresses(&domain, AddressSource::Lease)
            .await;
        assert!(addresses.unwrap().is_empty());
        calls.domain_reset(&domain).await.unwrap();
        calls.domain_destroy_flags(&domain, 0).await.unwrap();
        let state = calls.domain_get_state(&domain).await.unwrap();
        assert_eq!(
            (state.state, state.reason),
            (domain_state::SHUTOFF, shutoff_reason::DESTROYED)
        );
        resumed(&calls, &domain).await;
        let _ = calls.domain_destroy_flags(&domain, 0).await;
        let xml = calls
            .domain_get_xml_desc(&domain, domain_flags::XML_INACTIVE)
            .await
            .unwrap();
        assert!(xml.contains("urn:v") && xml.contains(&name));
        assert!(
            calls
                .connect_list_all_domains(0)
                .await
                .unwrap()
                .iter()
                .any(|d| d.uuid.0 == uuid)
        );
        calls.domain_undefine_flags(&domain, 0).await.unwrap();

        let mut seen = Vec::new();
        while !seen.contains(&lifecycle::UNDEFINED) {
            match timeout(SHORT, events.next()).await.unwrap() {
                EventReceived::Event(event) if event.domain.uuid.0 == uuid => {
                    seen.push(event.event)
                }
                EventReceived::Event(_) => {}
                other => panic!("{other:?}"),
            }
        }
        for expected in [
            lifecycle::DEFINED,
            lifecycle::STARTED,
            lifecycle::RESUMED,
            lifecycle::STOPPED,
        ] {
            assert!(
                seen.contains(&expected),
                "{way}: {expected} is not in {seen:?}"
            );
        }
        // A second subscription is possible.
        drop(events);
        let mut renewed = calls.domain_events().await.unwrap();
        let redefined = calls
            .domain_define_xml_flags(&domain_xml(&name, uuid), 1)
            .await
            .unwrap();
        let received = async {
            while !matches!(renewed.next().await, EventReceived::Event(e) if e.domain.uuid == redefined.uuid)
            {
            }
        };
        timeout(SHORT, received).await.unwrap();
        calls.domain_undefine_flags(&redefined, 0).await.unwrap();
        session.close().await;
    }
}

/// Starts the domain suspended and resumes it. Directly after another guest was ended, libvirt sometimes
/// reports that the domain does not run.
async fn resumed(calls: &Calls, domain: &crate::protocol::RemoteDomain) {
    for attempt in 1.. {
        let paused = domain_flags::START_PAUSED;
        calls
            .domain_create_with_flags(domain, paused)
            .await
            .unwrap();
        match calls.domain_resume(domain).await {
            Ok(()) => return,
            Err(error) if attempt < 5 => {
                assert_eq!(error.code(), Some(crate::code::OPERATION_INVALID));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn lab_volumes_come_and_go() {
    let Some(lab) = Lab::enter() else { return };
    let session = lab.local();
    let calls = control(&session).await;
    let images = pool(&calls).await;
    assert!(calls.storage_pool_is_active(&images).await.unwrap());
    assert!(
        calls
            .storage_pool_get_info(&images)
            .await
            .unwrap()
            .available
            > 0
    );
    assert!(
        calls
            .storage_pool_get_xml_desc(&images)
            .await
            .unwrap()
            .contains("<path>")
    );
    calls.storage_pool_refresh(&images).await.unwrap();
    let pools = calls
        .connect_list_all_storage_pools(storage_flags::LIST_ACTIVE)
        .await
        .unwrap();
    assert!(pools.contains(&images));

    let name = "t-volume.raw";
    let made = volume(&calls, name).await;
    let again = calls
        .storage_vol_create_xml(
            &images,
            &format!("<volume><name>{name}</name><capacity>1</capacity></volume>"),
            0,
        )
        .await
        .unwrap_err();
    assert_eq!(again.code(), Some(crate::code::STORAGE_VOL_EXIST));
    calls.storage_vol_resize(&made, 1 << 20, 0).await.unwrap();
    assert_eq!(
        calls.storage_vol_get_info(&made).await.unwrap().capacity,
        1 << 20
    );
    let physical = storage_flags::GET_PHYSICAL;
    assert_eq!(
        calls
            .storage_vol_get_info_flags(&made, physical)
            .await
            .unwrap()
            .allocation,
        1 << 20
    );
    let path = calls.storage_vol_get_path(&made).await.unwrap();
    assert_eq!(calls.storage_vol_lookup_by_path(&path).await.unwrap(), made);
    assert_eq!(
        calls.storage_pool_lookup_by_volume(&made).await.unwrap(),
        images
    );
    assert!(
        calls
            .storage_vol_get_xml_desc(&made)
            .await
            .unwrap()
            .contains("<physical")
    );
    assert!(
        calls
            .storage_pool_list_all_volumes(&images)
            .await
            .unwrap()
            .contains(&made)
    );

    let copy = "<volume><name>t-copy.qcow2</name><capacity>1048576</capacity>\
                <target><format type='qcow2'/><compat>1.1</compat></target></volume>";
    if let Ok(old) = calls
        .storage_vol_lookup_by_name(&images, "t-copy.qcow2")
        .await
    {
        calls.storage_vol_delete(&old).await.unwrap();
    }
    let long = session.long().await.unwrap().within(LONG);
    let copy = long
        .storage_vol_create_xml_from(&images, copy, &made, 0)
        .await
        .unwrap();
    long.storage_vol_wipe(&made).await.unwrap();
    for volume in [&made, &copy] {
        calls.storage_vol_delete(volume).await.unwrap();
        let gone = calls
            .storage_vol_lookup_by_name(&images, &volume.name)
            .await
            .unwrap_err();
        assert!(gone.is_absent());
    }
    session.close().await;
}

#[tokio::test]
async fn lab_networks_are_found() {
    let Some(lab) = Lab::enter() else { return };
    let session = lab.ssh();
    let calls = control(&session).await;
    let network = calls.network_lookup_by_name("default").await.unwrap();
    assert!(calls.network_is_active(&network).await.unwrap());
    assert!(
        calls
            .network_get_xml_desc(&network)
            .await
            .unwrap()
            .contains("virbr")
    );
    calls.network_get_dhcp_leases(&network, None).await.unwrap();
    assert!(
        calls
            .connect_list_all_networks()
            .await
            .unwrap()
            .contains(&network)
    );
    assert!(
        calls
            .network_lookup_by_name("nowhere")
            .await
            .unwrap_err()
            .is_absent()
    );
    session.close().await;
}

#[tokio::test]
async fn lab_a_round_trip_is_short() {
    let Some(lab) = Lab::enter() else { return };
    for (way, session) in lab.both() {
        let calls = control(&session).await;
        let start = std::time::Instant::now();
        for _ in 0..200 {
            calls.connect_get_lib_version().await.unwrap();
        }
        let each = start.elapsed() / 200;
        println!("measured: a call over {way} takes {each:?}");
        assert!(each < Duration::from_millis(50));
        session.close().await;
    }
}
