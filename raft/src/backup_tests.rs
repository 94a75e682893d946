use super::*;
use crate::types::log_id;

fn image(objects: usize, value_bytes: usize) -> Image {
    let mut state = State::default();
    for n in 0..objects as u64 {
        let object = Versioned { revision: n + 1, created: n + 1, value: vec![n as u8; value_bytes].into() };
        state.insert(format!("core/pods/default/p{n:04}").into(), object);
        state.set_revision(n + 1);
    }
    Image { state, last_applied: Some(log_id(3, 77)), ..Image::default() }
}

fn file(image: Image) -> Vec<u8> {
    let pieces = Backup::new("c-1".into(), 2, 1000, image).pieces();
    pieces.flat_map(|piece| piece.to_vec()).collect()
}

fn check(file: &[u8]) -> Result<(Header, State), Damage> {
    let mut state = State::default();
    let header = read(file, |key, object| {
        state.insert(key, object);
        Ok(())
    })?;
    state.set_revision(header.revision);
    Ok((header, state))
}

#[test]
fn what_was_saved_is_read_back() {
    for (objects, value_bytes) in [(0, 0), (1, 10), (40, 100_000)] {
        let image = image(objects, value_bytes);
        let (header, state) = check(&file(image.clone())).unwrap();
        assert_eq!((header.applied_term, header.applied_index, header.replica), (3, 77, 2));
        assert_eq!((header.objects, header.revision), (objects as u64, objects as u64));
        assert_eq!(header.bytes, (objects * (value_bytes + 23)) as u64);
        assert!(state.objects().eq(image.state.objects()));
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let whole = file(image(3, 20));
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&flipped).is_err(), "bit {bit} of byte {}", bit / 8);
    }
    for length in 0..whole.len() {
        assert!(check(&whole[..length]).is_err(), "cut at {length}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(check(&longer).unwrap_err().to_string().contains("behind the end"));
}

#[test]
fn damage_says_where_it_is() {
    let whole = file(image(40, 100_000));
    let mut damaged = whole.clone();
    damaged[2_000_000] ^= 1;
    let said = check(&damaged).unwrap_err().to_string();
    assert!(said.contains("in part 4 (objects behind \"core/pods/default/p0017\"): its checksum"), "{said}");
    let said = check(&whole[..whole.len() - 3]).unwrap_err().to_string();
    assert!(said.contains(&format!("ends early, at byte {}", whole.len() - 3)), "{said}");
    assert!(matches!(check(b"something else, and long enough"), Err(Damage::NoSnapshot)));
}

#[test]
fn a_part_left_out_is_noticed() {
    // Each part is whole by itself; the chain and the count are not.
    let pieces: Vec<Bytes> = Backup::new("c-1".into(), 2, 1000, image(40, 100_000)).pieces().collect();
    let without: Vec<u8> =
        pieces.iter().enumerate().filter(|(n, _)| *n != 2).flat_map(|(_, piece)| piece.to_vec()).collect();
    assert!(check(&without).unwrap_err().to_string().contains("objects came"));
}
