#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

fn place() -> Aad {
    Aad { cluster: Uuid::from_u128(7), table: "terraform_states", row: "a/b".into(), column: "state", serial: 3 }
}

fn ring(ids: &[(&str, u8)], current: &str) -> Keyring {
    let keys = ids.iter().map(|(id, byte)| ((*id).to_owned(), Key::new([*byte; KEY]))).collect();
    Keyring::new(current.to_owned(), keys).unwrap()
}

/// Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation".
#[test]
fn aes_gcm_agrees_with_the_published_vector() {
    let bytes = |text: &str| hex::decode(text).unwrap();
    let key = bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let nonce: [u8; NONCE] = bytes("cafebabefacedbaddecaf888").try_into().unwrap();
    let plain = bytes(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let sealed = encrypt(&Key::new(key.try_into().unwrap()), &nonce, &plain, &aad).unwrap();
    let expected = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
                    76fc6ece0f4e1768cddf8853bb2d551b";
    assert_eq!(hex::encode(sealed), expected);
}

/// Test case 1 of RFC 4231: its key of 20 bytes is padded with zeros, as ours of 32 are.
#[test]
fn hmac_agrees_with_the_published_vector() {
    let mut key = Key::new([0; KEY]);
    key[..20].fill(0x0b);
    assert_eq!(
        hex::encode(hmac(&key, &[b"Hi ", b"There"])),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    );
}

#[test]
fn an_unknown_key_is_named_and_is_no_damage() {
    let sealed = ring(&[("2025", 1)], "2025").seal(b"secret", &place()).unwrap();
    let error = ring(&[("2026", 2)], "2026").open(sealed.clone(), &place()).unwrap_err().to_string();
    assert!(error.contains("key \"2025\" is not available"), "{error}");
    let error = ring(&[("2025", 2)], "2025").open(sealed, &place()).unwrap_err().to_string();
    assert!(error.contains("key \"2025\" is not the one that wrapped this value"), "{error}");
    assert!(Keyring::new("2027".into(), BTreeMap::new()).is_err());
}

#[test]
fn rotation_wraps_anew_and_leaves_the_blob() {
    let old = ring(&[("2025", 1)], "2025").seal(b"secret", &place()).unwrap();
    let both = ring(&[("2025", 1), ("2026", 2)], "2026");
    assert_eq!(both.open(old.clone(), &place()).unwrap().as_slice(), b"secret");
    let new = both.rewrap(&old).unwrap();
    assert_eq!((new.key_id.as_str(), &new.ciphertext), ("2026", &old.ciphertext));
    assert_eq!(ring(&[("2026", 2)], "2026").open(new, &place()).unwrap().as_slice(), b"secret");
}

#[test]
fn a_wrap_with_another_keys_name_does_not_open() {
    let keys = ring(&[("a", 1), ("b", 1)], "a");
    let sealed = keys.seal(b"secret", &place()).unwrap();
    assert!(keys.open(Sealed { key_id: "b".into(), ..sealed }, &place()).is_err());
}

#[test]
fn nothing_is_sealed_twice_alike_and_debug_shows_no_key() {
    let keys = ring(&[("a", 0x41)], "a");
    let (one, other) = (keys.seal(b"secret", &place()).unwrap(), keys.seal(b"secret", &place()).unwrap());
    assert_ne!(one.ciphertext, other.ciphertext);
    assert_ne!(one.wrapped_key, other.wrapped_key);
    let shown = format!("{keys:?}");
    assert!(!shown.contains("65") && !shown.contains("AAAA"), "{shown}");
}

#[test]
fn digests_differ_by_purpose_and_by_installation() {
    let keys = ring(&[("a", 1)], "a");
    assert_eq!(keys.digest("variable", b"x"), keys.digest("variable", b"x"));
    assert_ne!(keys.digest("variable", b"x"), keys.digest("secret", b"x"));
    assert_ne!(keys.digest("ab", b"c"), keys.digest("a", b"bc"));
    assert_ne!(keys.digest("variable", b"x"), ring(&[("a", 2)], "a").digest("variable", b"x"));
    assert_eq!(keys.digest("variable", b"x").len(), "hmac-sha256:".len() + 64);
}

#[test]
fn key_files_are_read_and_bad_ones_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let good = file("good", &format!("{}\n", base64::engine::general_purpose::STANDARD.encode([9; KEY])));
    let encryption = |path| Encryption { current: "k".into(), keys: BTreeMap::from([("k".into(), path)]) };
    Keyring::from_installation(&encryption(good)).unwrap();
    for bad in [file("short", "AAAA"), file("text", "not base64!"), directory.path().join("absent")] {
        let error = Keyring::from_installation(&encryption(bad)).unwrap_err().to_string();
        assert!(error.starts_with("encryption.keys.k: "), "{error}");
    }
}

fn any_place() -> impl Strategy<Value = Aad> {
    let names = || prop::sample::select(vec!["a", "ab", "b", "", "abc"]);
    (any::<u128>(), names(), "[a-c/]{0,4}", names(), any::<i64>()).prop_map(|(cluster, table, row, column, serial)| {
        Aad { cluster: Uuid::from_u128(cluster & 3), table, row, column, serial: serial & 3 }
    })
}

proptest! {
    #[test]
    fn a_blob_opens_in_its_own_place_only(plain in prop::collection::vec(any::<u8>(), 0..64), home in any_place(), other in any_place()) {
        let keys = ring(&[("a", 1)], "a");
        let sealed = keys.seal(&plain, &home).unwrap();
        let again = Sealed::from_bytes(&sealed.clone().into_bytes()).unwrap();
        prop_assert_eq!(&again, &sealed);
        let opened = keys.open(again.clone(), &home).unwrap();
        prop_assert_eq!(opened.as_slice(), plain.as_slice());
        prop_assert_eq!(keys.open(again, &other).is_ok(), home == other);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_refused(place_of_bit in any::<prop::sample::Index>(), bit in 0..8u8) {
        let keys = ring(&[("a", 1)], "a");
        let mut bytes = keys.seal(b"secret", &place()).unwrap().into_bytes();
        let at = place_of_bit.index(bytes.len());
        prop_assert!(Sealed::from_bytes(&bytes[..at]).is_err());
        bytes[at] ^= 1 << bit;
        prop_assert!(Sealed::from_bytes(&bytes).and_then(|sealed| keys.open(sealed, &place())).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Sealed::from_bytes(&bytes);
    }
}
