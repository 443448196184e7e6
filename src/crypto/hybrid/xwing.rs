//! X-Wing, a key encapsulation that holds as long as one of ML-KEM-768 and X25519 does.
//!
//! As in draft-connolly-cfrg-xwing-kem; HPKE lists it as MLKEM768-X25519. A public key and a share are each the part of
//! ML-KEM (FIPS 203) and behind it that of X25519 (RFC 7748).

use ml_kem::array::typenum::Unsigned as _;
use ml_kem::kem::Decapsulate as _;
use ml_kem::{EncapsulateDeterministic as _, EncodedSizeUser, KemCore, MlKem768};
use sha3::digest::{ExtendableOutput as _, FixedOutput as _, Update as _};
use sha3::{Sha3_256, Shake256};
use x25519_dalek::{PublicKey as CurvePoint, StaticSecret};
use zeroize::Zeroizing;

type LatticePublic = <MlKem768 as KemCore>::EncapsulationKey;
type LatticePrivate = <MlKem768 as KemCore>::DecapsulationKey;

const CURVE: usize = 32;
const LATTICE_PUBLIC: usize = <LatticePublic as EncodedSizeUser>::EncodedSize::USIZE;
const LATTICE_SHARE: usize = <MlKem768 as KemCore>::CiphertextSize::USIZE;
/// Bytes of a public key: 1216.
pub(super) const PUBLIC: usize = LATTICE_PUBLIC + CURVE;
/// Bytes of a share: 1120.
pub(super) const SHARE: usize = LATTICE_SHARE + CURVE;
/// The label that the draft puts at the end of what is hashed.
const LABEL: [u8; 6] = *b"\\.//^\\";

/// What both sides know in the end.
pub(super) type SharedSecret = Zeroizing<[u8; 32]>;

/// The part of X25519 is a point of low order, for which every secret gives the same result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LowOrder;

#[derive(Clone, PartialEq)]
pub(super) struct PublicKey {
    lattice: LatticePublic,
    curve: CurvePoint,
}

pub(super) struct PrivateKey {
    lattice: LatticePrivate,
    curve: StaticSecret,
    public: PublicKey,
}

impl PublicKey {
    /// `None` if a number in the part of ML-KEM is not below its modulus (FIPS 203, section 7.2).
    pub(super) fn from_bytes(bytes: &[u8; PUBLIC]) -> Option<Self> {
        let (lattice, curve) = bytes.split_at(LATTICE_PUBLIC);
        let encoded = lattice.try_into().expect("it was split at that length");
        let key = Self {
            lattice: LatticePublic::from_bytes(encoded),
            curve: CurvePoint::from(<[u8; CURVE]>::try_from(curve).expect("that is left")),
        };
        // Larger numbers are reduced when they are read, and so come out as others.
        (key.lattice.as_bytes() == *encoded).then_some(key)
    }

    pub(super) fn to_bytes(&self) -> [u8; PUBLIC] {
        let mut bytes = [0; PUBLIC];
        bytes[..LATTICE_PUBLIC].copy_from_slice(&self.lattice.as_bytes());
        bytes[LATTICE_PUBLIC..].copy_from_slice(self.curve.as_bytes());
        bytes
    }

    /// A share for whoever has the private key, made of 64 random bytes, and what both know then.
    pub(super) fn encapsulate(
        &self,
        random: &Zeroizing<[u8; 64]>,
    ) -> Result<([u8; SHARE], SharedSecret), LowOrder> {
        let (message, scalar) = random.split_at(32);
        let message = message.try_into().expect("it was split at that length");
        let (part, lattice) = self.lattice.encapsulate_deterministic(message).expect("ML-KEM does not fail");
        let scalar = StaticSecret::from(<[u8; CURVE]>::try_from(scalar).expect("that is left"));
        let point = CurvePoint::from(&scalar);
        let curve = scalar.diffie_hellman(&self.curve);
        if !curve.was_contributory() {
            return Err(LowOrder);
        }
        let mut share = [0; SHARE];
        share[..LATTICE_SHARE].copy_from_slice(&part);
        share[LATTICE_SHARE..].copy_from_slice(point.as_bytes());
        Ok((share, combine(&Zeroizing::new(lattice.0), curve.as_bytes(), &point, &self.curve)))
    }
}

impl PrivateKey {
    pub(super) fn from_seed(seed: &[u8; 32]) -> Self {
        let mut expanded = Zeroizing::new([0; 96]);
        Shake256::default().chain(seed).finalize_xof_into(&mut *expanded);
        let part = |from: usize| &expanded[from..from + 32];
        let (lattice, lattice_public) = MlKem768::generate_deterministic(
            part(0).try_into().expect("32 bytes"),
            part(32).try_into().expect("32 bytes"),
        );
        let curve = StaticSecret::from(<[u8; CURVE]>::try_from(part(64)).expect("32 bytes"));
        let public = PublicKey { lattice: lattice_public, curve: CurvePoint::from(&curve) };
        Self { lattice, curve, public }
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// What the maker of a share knows. For a share that was made for another key it is something that nobody knows.
    pub(super) fn decapsulate(&self, share: &[u8; SHARE]) -> Result<SharedSecret, LowOrder> {
        let (part, point) = share.split_at(LATTICE_SHARE);
        let part = part.try_into().expect("it was split at that length");
        let point = CurvePoint::from(<[u8; CURVE]>::try_from(point).expect("that is left"));
        let lattice = self.lattice.decapsulate(part).expect("ML-KEM does not fail");
        let curve = self.curve.diffie_hellman(&point);
        if !curve.was_contributory() {
            return Err(LowOrder);
        }
        Ok(combine(&Zeroizing::new(lattice.0), curve.as_bytes(), &point, &self.public.curve))
    }
}

/// `SHA3-256(lattice ‖ curve ‖ point ‖ public ‖ label)`
fn combine(lattice: &[u8; 32], curve: &[u8; 32], point: &CurvePoint, public: &CurvePoint) -> SharedSecret {
    let parts = [&lattice[..], curve, point.as_bytes(), public.as_bytes(), &LABEL];
    let hash = parts.iter().fold(Sha3_256::default(), |hash, part| hash.chain(part));
    let mut secret = Zeroizing::new([0; 32]);
    hash.finalize_into((&mut *secret).into());
    secret
}
