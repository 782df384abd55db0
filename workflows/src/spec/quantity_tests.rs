use proptest::prelude::*;

use super::*;

fn bytes(text: &str) -> Result<u64, QuantityError> {
    text.parse().map(Quantity::bytes)
}

#[test]
fn units_count_as_in_kubernetes() {
    for (text, expected) in [
        ("0", 0),
        ("107374182400", 107_374_182_400),
        ("1Ki", 1024),
        ("100Gi", 107_374_182_400),
        ("1.5Gi", 1_610_612_736),
        ("1.50Gi", 1_610_612_736),
        ("20G", 20_000_000_000),
        ("5k", 5_000),
        ("2Ti", 2_199_023_255_552),
        (".5Ki", 512),
        ("8Ei", 1 << 63),
        ("1e3", 1_000),
        ("1E3", 1_000),
        ("1E", 1_000_000_000_000_000_000),
        ("1.073741824e+11", 107_374_182_400),
        ("1.5e1", 15),
        ("1000e-3", 1),
        ("12.5E2", 1_250),
    ] {
        assert_eq!(bytes(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_size_is_refused() {
    for text in [
        "", ".", "Gi", "-1", "+1", "1 Gi", "1GB", "1gi", "1e", "1e+", "1e3Gi", "1.2.3", "½",
        "1Gi\n",
    ] {
        assert!(
            matches!(bytes(text), Err(QuantityError::Unreadable(_))),
            "{text}"
        );
    }
    for text in [
        "16Ei",
        "9223372036854775809",
        "340282366920938463463374607431768211456",
    ] {
        assert!(
            matches!(bytes(text), Err(QuantityError::TooLarge(_))),
            "{text}"
        );
    }
    for text in ["0.5", "1.0005e3", "1e-1"] {
        assert!(
            matches!(bytes(text), Err(QuantityError::Fraction(_))),
            "{text}"
        );
    }
    for text in ["1e19", "1e99999999999", "9e30"] {
        assert!(
            matches!(bytes(text), Err(QuantityError::TooLarge(_))),
            "{text}"
        );
    }
}

/// As `Quantity.Value()` of Kubernetes' apimachinery.
#[test]
fn parts_of_a_byte_are_rounded_up_where_there_is_a_unit() {
    for (text, whole) in [
        ("1.3Gi", 1_395_864_372),
        ("0.1Gi", 107_374_183),
        ("2.7Ki", 2_765),
        ("1.0001k", 1_001),
        ("0.0001Ki", 1),
        ("1.5Ki", 1_536),
    ] {
        assert_eq!(bytes(text), Ok(whole), "{text}");
    }
    let memory: Memory = serde_json::from_str("\"1.3Gi\"").unwrap();
    assert_eq!(memory.mib(), 1_332);
    let refused = bytes("1.3").unwrap_err().to_string();
    assert!(refused.contains("with a unit"), "{refused}");
}

#[test]
fn plain_numbers_are_bytes_for_disks_and_mib_for_memory() {
    let size: Quantity = serde_json::from_str("1024").unwrap();
    assert_eq!(size.bytes(), 1024);
    let memory = |text| serde_json::from_str::<Memory>(text).map(Memory::mib).ok();
    assert_eq!(memory("4096"), Some(4096));
    assert_eq!(memory("\"4Gi\""), Some(4096));
    assert_eq!(memory("4.096e3"), Some(4096));
    assert_eq!(memory("4096.5"), None);
    // libvirt is given whole MiB, never less than requested.
    assert_eq!(memory("\"1025.5Mi\""), Some(1026));
    assert_eq!(memory("\"1G\""), Some(954));
    assert_eq!(memory("\"1073741825\""), Some(1025));
    assert_eq!(memory("\"1048575\""), None);
    assert_eq!(memory("\"4096\""), None);
    assert_eq!(memory("4294967296"), None);
    assert_eq!(memory("0"), None);
    assert_eq!(memory("-1"), None);
    assert_eq!(memory("18446744073709551615"), None);
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(size in 0..=1_u64 << 63) {
        prop_assert_eq!(bytes(&Quantity(size).to_string()), Ok(size));
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,50}") {
        let _ = bytes(&text);
    }

    #[test]
    fn any_number_is_answered(text in "[0-9]{1,45}[.]?[0-9]{0,45}(Ki|Ei|E|)") {
        let _ = bytes(&text);
    }
}
