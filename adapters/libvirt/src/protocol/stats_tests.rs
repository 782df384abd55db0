use proptest::prelude::*;
use serde::{Serialize, Serializer, ser::SerializeTuple as _};

use super::*;
use crate::xdr;

impl Serialize for TypedParam {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(3)?;
        tuple.serialize_element(&self.field)?;
        match &self.value {
            TypedValue::Int(value) => tuple.serialize_element(&(1_i32, value))?,
            TypedValue::Uint(value) => tuple.serialize_element(&(2_i32, value))?,
            TypedValue::Llong(value) => tuple.serialize_element(&(3_i32, value))?,
            TypedValue::Ullong(value) => tuple.serialize_element(&(4_i32, value))?,
            TypedValue::Double(value) => tuple.serialize_element(&(5_i32, value))?,
            TypedValue::Boolean(value) => tuple.serialize_element(&(6_i32, value))?,
            TypedValue::String(value) => tuple.serialize_element(&(7_i32, value))?,
        }
        tuple.end()
    }
}

fn domain(name: &str) -> RemoteDomain {
    RemoteDomain {
        name: name.to_owned(),
        uuid: uuid::Uuid::from_u128(7).into(),
        id: 3,
    }
}

fn param(field: &str, value: TypedValue) -> TypedParam {
    TypedParam {
        field: field.to_owned(),
        value,
    }
}

fn read(params: &[TypedParam]) -> Used {
    let bytes = xdr::to_bytes(&vec![(domain("a"), params.to_vec())]).unwrap();
    let AllStats(all) = xdr::from_bytes(&bytes).unwrap();
    assert_eq!(all[0].domain, domain("a"));
    all[0].used
}

#[test]
fn devices_are_added_up_and_what_is_no_number_of_things_is_passed_over() {
    use TypedValue::{Boolean, Double, Int, Llong, String, Uint, Ullong};
    let used = read(&[
        param("cpu.time", Ullong(5_000)),
        param("balloon.current", Ullong(1_048_576)),
        param("block.count", Uint(2)),
        param("block.0.name", String("vda\" }\n".to_owned())),
        param("block.0.rd.bytes", Ullong(10)),
        param("block.1.rd.bytes", Ullong(32)),
        param("block.x.rd.bytes", Ullong(1)),
        param("block.0.rd.bytes.more", Ullong(1)),
        param("block.0.wr.bytes", Llong(-5)),
        param("net.0.rx.bytes", Ullong(u64::MAX)),
        param("net.1.rx.bytes", Ullong(9)),
        param("net.0.tx.bytes", Double(f64::NAN)),
        param("balloon.rss", Int(-1)),
        param("block.0.rd.reqs", Boolean(1)),
        param("", Int(1)),
    ]);
    let added_up = Used {
        cpu_time: Some(5_000),
        balloon: Some(1_048_576),
        block_rd_bytes: Some(42),
        net_rx_bytes: Some(u64::MAX),
        ..Used::default()
    };
    assert_eq!(used, added_up);
}

#[test]
fn a_type_that_nobody_knows_and_a_reply_that_ends_early_are_errors() {
    let bytes = xdr::to_bytes(&vec![(domain("a"), vec![("x", 8_i32, 0_u32)])]).unwrap();
    assert!(xdr::from_bytes::<AllStats>(&bytes).is_err());
    let params = vec![param("cpu.time", TypedValue::Ullong(1))];
    let of_params = xdr::to_bytes(&vec![(domain("a"), params)]).unwrap();
    for end in 0..of_params.len() {
        assert!(
            xdr::from_bytes::<AllStats>(&of_params[..end]).is_err(),
            "{end}"
        );
    }
}

#[test]
fn a_million_parameters_and_as_many_domains_take_little() {
    let params: Vec<_> = (0..200_000)
        .map(|number| param(&format!("block.{number}.rd.bytes"), TypedValue::Ullong(1)))
        .collect();
    assert_eq!(read(&params).block_rd_bytes, Some(200_000));
    let none: Vec<TypedParam> = Vec::new();
    let many: Vec<_> = (0..DOMAINS_MAX + 5)
        .map(|_| (domain("d"), none.clone()))
        .collect();
    let AllStats(all) = xdr::from_bytes(&xdr::to_bytes(&many).unwrap()).unwrap();
    assert_eq!(all.len(), DOMAINS_MAX);
}

fn values() -> impl Strategy<Value = TypedValue> {
    prop_oneof![
        any::<i32>().prop_map(TypedValue::Int),
        any::<u32>().prop_map(TypedValue::Uint),
        any::<i64>().prop_map(TypedValue::Llong),
        any::<u64>().prop_map(TypedValue::Ullong),
        (-1e300..1e300).prop_map(TypedValue::Double),
        any::<i32>().prop_map(TypedValue::Boolean),
        ".{0,40}".prop_map(TypedValue::String),
    ]
}

proptest! {
    #[test]
    fn a_parameter_is_read_as_it_was_written(field in ".{0,80}", value in values()) {
        let written = param(&field, value);
        let bytes = xdr::to_bytes(&written).unwrap();
        prop_assert_eq!(xdr::from_bytes::<TypedParam>(&bytes), Ok(written));
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = xdr::from_bytes::<AllStats>(&bytes);
    }
}
