//! The venue's memory of orders: the newest ones by session and ClOrdID(11), in memory made once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Deref;

use super::super::{RestoreError, SessionNumber};
use super::order_id::OrderId;
use crate::fix::{Decimal, Message, char_of, tags};
use crate::sys::prefetch;

/// Orders remembered, open or closed, at most. The oldest is forgotten for a new one: a cancel then finds no order.
const ORDERS_MAX: usize = 4096;
/// The longest ClOrdID(11), Symbol(55) or OrderID(37) that is kept.
const TEXT_BYTES_MAX: usize = 48;
/// An order in a snapshot, at most: two texts with their lengths, and the fixed part.
const ORDER_SNAPSHOT_BYTES_MAX: usize = 2 * (1 + TEXT_BYTES_MAX) + 4 + 4 + 8 + 4 + 2 * 9;
const SNAPSHOT_VERSION: u8 = 1;
/// The version and the number of orders.
const SNAPSHOT_HEADER_BYTES: u32 = 1 + 4;

const _: () = assert!(ORDERS_MAX.is_power_of_two());
const _: () = assert!(TEXT_BYTES_MAX < 256);

/// A short byte string without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text {
    length: u8,
    bytes: [u8; TEXT_BYTES_MAX],
}

impl Default for Text {
    fn default() -> Self {
        Self { length: 0, bytes: [0; TEXT_BYTES_MAX] }
    }
}

impl Text {
    pub fn new(value: &[u8]) -> Option<Self> {
        let mut text = Self::default();
        text.bytes.get_mut(..value.len())?.copy_from_slice(value);
        text.length = value.len() as u8;
        Some(text)
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub session: SessionNumber,
    pub cl_ord_id: Text,
    pub symbol: Text,
    pub side: u8,
    pub ord_type: u8,
    pub time_in_force: u8,
    pub ord_status: u8,
    pub quantity: Decimal,
    pub price: Decimal,
    pub order_id: OrderId,
}

/// A ring of orders and an open-addressing index over it.
///
/// The index holds each order's hash, and a table beside the orders does too: looking up and forgetting touch an order's
/// own memory, which is cold, only where it is the one that is meant.
#[derive(Debug)]
pub(super) struct Book {
    orders: Vec<Order>,
    /// By slot, as the orders.
    hashes: Vec<u32>,
    /// The slot that the next order takes, once all are in use.
    oldest: usize,
    orders_max: usize,
    /// Twice as many places as orders; linear probing, deletion by shifting back.
    index: Vec<Place>,
    hash_key: u64,
}

/// A place of the index: an order's slot + 1 and its hash, or all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    slot_plus_1: u32,
    hash: u32,
}

impl Book {
    pub fn new(snapshot_bytes_max: u32) -> Self {
        let orders_max = (snapshot_bytes_max.saturating_sub(SNAPSHOT_HEADER_BYTES) as usize / ORDER_SNAPSHOT_BYTES_MAX)
            .clamp(1, ORDERS_MAX);
        Self {
            orders: Vec::with_capacity(orders_max),
            hashes: Vec::with_capacity(orders_max),
            oldest: 0,
            orders_max,
            index: vec![Place::default(); 2 * ORDERS_MAX],
            // std's source of a process's randomness.
            hash_key: RandomState::new().build_hasher().finish() | 1,
        }
    }

    pub fn find(&self, session: SessionNumber, cl_ord_id: &[u8]) -> Option<&Order> {
        self.find_hashed(self.hash_of(session, cl_ord_id), session, cl_ord_id)
    }

    /// The same where [`Book::hash_of`] the two is known.
    pub fn find_hashed(&self, hash: u32, session: SessionNumber, cl_ord_id: &[u8]) -> Option<&Order> {
        self.slot(hash, session, cl_ord_id).map(|slot| &self.orders[slot])
    }

    /// Remembers a new order, forgetting the oldest where the book is full.
    pub fn insert(&mut self, order: Order) {
        self.insert_hashed(self.hash_of(order.session, &order.cl_ord_id), order);
    }

    pub fn insert_hashed(&mut self, hash: u32, order: Order) {
        let slot = if self.orders.len() < self.orders_max {
            self.orders.push(order);
            self.hashes.push(hash);
            self.orders.len() - 1
        } else {
            let slot = self.oldest;
            self.oldest = (self.oldest + 1) % self.orders_max;
            self.unindex(slot);
            self.orders[slot] = order;
            self.hashes[slot] = hash;
            slot
        };
        self.put_in_index(slot);
        self.warm();
    }

    /// Asks for the memory of the order that the next one will take the place of, which nobody has touched since thousands.
    fn warm(&self) {
        if let (Some(order), Some(hash)) = (self.orders.get(self.oldest), self.hashes.get(self.oldest)) {
            prefetch::all_for_write(order);
            prefetch::for_write(&self.index[self.home(*hash)]);
        }
    }

    /// The order known as `original` becomes `order`, under its new ClOrdID(11).
    pub fn replace(&mut self, original: &[u8], order: Order) {
        let hash = self.hash_of(order.session, original);
        let Some(slot) = self.slot(hash, order.session, original) else { return };
        self.unindex(slot);
        self.hashes[slot] = self.hash_of(order.session, &order.cl_ord_id);
        self.orders[slot] = order;
        self.put_in_index(slot);
    }

    /// Takes in a stored ExecutionReport(8) of ours, after a restart.
    pub fn apply_report(&mut self, session: SessionNumber, report: &Message<'_>) {
        let text = |tag| report.field(tag).and_then(Text::new);
        let char = |tag| report.field(tag).and_then(char_of);
        let decimal = |tag| report.field(tag).and_then(Decimal::parse);
        let order_id = report.field(tags::ORDER_ID).and_then(OrderId::parse);
        // A rejection names no order: its OrderID(37) is NONE.
        let (Some(order_id), Some(cl_ord_id), Some(symbol), Some(quantity)) =
            (order_id, text(tags::CL_ORD_ID), text(tags::SYMBOL), decimal(tags::ORDER_QTY))
        else {
            return;
        };
        let ord_status = match char(tags::ORD_STATUS) {
            Some(super::ORD_STATUS_REPLACED) | None => super::ORD_STATUS_NEW,
            Some(ord_status) => ord_status,
        };
        let order = Order {
            session,
            cl_ord_id,
            symbol,
            side: char(tags::SIDE).unwrap_or(b'1'),
            ord_type: char(tags::ORD_TYPE).unwrap_or(b'2'),
            time_in_force: char(tags::TIME_IN_FORCE).unwrap_or(b'0'),
            ord_status,
            quantity,
            price: decimal(tags::PRICE).unwrap_or_default(),
            order_id,
        };
        let renamed = matches!(char(tags::ORD_STATUS), Some(super::ORD_STATUS_REPLACED | super::ORD_STATUS_CANCELED));
        match report.field(tags::ORIG_CL_ORD_ID) {
            Some(original) => self.replace(original, order),
            None if self.find(session, &order.cl_ord_id).is_some() => self.replace(&cl_ord_id, order),
            // A report of FIX.4.0 has no OrigClOrdID(41): the order is known by its OrderID(37) alone.
            None if renamed => match self.with_order_id(session, order_id) {
                Some(original) => self.replace(&original, order),
                None => self.insert(order),
            },
            None => self.insert(order),
        }
    }

    /// The name of an order. It looks at all that the book has, and is for the start only.
    fn with_order_id(&self, session: SessionNumber, order_id: OrderId) -> Option<Text> {
        let found = self.orders.iter().find(|order| order.session == session && order.order_id == order_id);
        found.map(|order| order.cl_ord_id)
    }

    /// Oldest first, so that reading it back forgets in the same order.
    pub fn write(&self, state: &mut Vec<u8>) {
        state.push(SNAPSHOT_VERSION);
        state.extend((self.orders.len() as u32).to_le_bytes());
        let (newer, older) = self.orders.split_at(self.oldest);
        for order in older.iter().chain(newer) {
            state.extend(order.session.0.to_le_bytes());
            state.extend(order.order_id.incarnation.to_le_bytes());
            state.extend(order.order_id.number.to_le_bytes());
            state.extend([order.side, order.ord_type, order.time_in_force, order.ord_status]);
            for number in [order.quantity, order.price] {
                state.extend(number.mantissa.to_le_bytes());
                state.push(number.scale);
            }
            for text in [&order.cl_ord_id, &order.symbol] {
                state.push(text.length);
                state.extend_from_slice(text);
            }
        }
    }

    pub fn read(&mut self, state: &[u8]) -> Result<(), RestoreError> {
        let mut reader = Reader(state);
        let read = (|| {
            let version = reader.take(1)?[0];
            if version != SNAPSHOT_VERSION {
                return None;
            }
            for _ in 0..u32::from_le_bytes(reader.array()?) {
                let order = reader.order()?;
                self.insert(order);
            }
            reader.0.is_empty().then_some(())
        })();
        read.ok_or_else(|| RestoreError(format!("an order book of another version, or cut: {} bytes", state.len())))
    }

    fn slot(&self, hash: u32, session: SessionNumber, cl_ord_id: &[u8]) -> Option<usize> {
        let mut place = self.home(hash);
        loop {
            let slot = (self.index[place].slot_plus_1 as usize).checked_sub(1)?;
            if self.index[place].hash == hash {
                let order = &self.orders[slot];
                if order.session == session && *order.cl_ord_id == *cl_ord_id {
                    return Some(slot);
                }
            }
            place = self.after(place);
        }
    }

    fn put_in_index(&mut self, slot: usize) {
        let hash = self.hashes[slot];
        let mut place = self.home(hash);
        while self.index[place] != Place::default() {
            place = self.after(place);
        }
        self.index[place] = Place { slot_plus_1: slot as u32 + 1, hash };
    }

    /// Takes the slot's entry out and shifts back those that had to give way to it.
    fn unindex(&mut self, slot: usize) {
        let mut hole = self.home(self.hashes[slot]);
        while self.index[hole].slot_plus_1 != slot as u32 + 1 {
            if self.index[hole] == Place::default() {
                return;
            }
            hole = self.after(hole);
        }
        let mut place = hole;
        loop {
            self.index[hole] = Place::default();
            loop {
                place = self.after(place);
                if self.index[place] == Place::default() {
                    return;
                }
                let home = self.home(self.index[place].hash);
                // The entry may move into the hole unless its home lies after the hole, up to its place.
                let stays = if hole <= place { hole < home && home <= place } else { hole < home || home <= place };
                if !stays {
                    break;
                }
            }
            self.index[hole] = self.index[place];
            hole = place;
        }
    }

    /// Eight bytes a step, each by a multiplication of 128 bits whose halves are folded, as wyhash does, and with a key that no peer knows:
    /// names that collide would fill a stretch of the index that other sessions' orders have to pass.
    pub fn hash_of(&self, session: SessionNumber, cl_ord_id: &[u8]) -> u32 {
        let fold = |hash: u64, word: u64| {
            let product = u128::from(hash ^ word) * u128::from(self.hash_key);
            product as u64 ^ (product >> 64) as u64
        };
        let (words, rest) = cl_ord_id.as_chunks::<8>();
        let start = self.hash_key.rotate_left(32) ^ (u64::from(session.0) << 32) ^ cl_ord_id.len() as u64;
        let hash = words.iter().fold(start, |hash, word| fold(hash, u64::from_le_bytes(*word)));
        let last = rest.iter().fold(0, |last: u64, byte| (last << 8) | u64::from(*byte));
        let hash = fold(fold(hash, last), self.hash_key.rotate_left(17));
        (hash ^ (hash >> 32)) as u32
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.index.len() - 1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.index.len() - 1)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn decimal(&mut self) -> Option<Decimal> {
        let mantissa = i64::from_le_bytes(self.array()?);
        Some(Decimal::new(mantissa, self.array::<1>()?[0]))
    }

    fn text(&mut self) -> Option<Text> {
        let length = self.array::<1>()?[0];
        Text::new(self.take(usize::from(length))?)
    }

    fn order(&mut self) -> Option<Order> {
        let session = SessionNumber(u32::from_le_bytes(self.array()?));
        let incarnation = u32::from_le_bytes(self.array()?);
        let order_id = OrderId { incarnation, number: u64::from_le_bytes(self.array()?) };
        let [side, ord_type, time_in_force, ord_status] = self.array()?;
        let (quantity, price) = (self.decimal()?, self.decimal()?);
        let (cl_ord_id, symbol) = (self.text()?, self.text()?);
        Some(Order { session, cl_ord_id, symbol, side, ord_type, time_in_force, ord_status, quantity, price, order_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: u64) -> Order {
        Order {
            session: SessionNumber((number % 3) as u32),
            cl_ord_id: Text::new(format!("ID{number}").as_bytes()).unwrap(),
            symbol: Text::new(b"ACME").unwrap(),
            side: b'1',
            ord_type: b'2',
            time_in_force: b'0',
            ord_status: b'0',
            quantity: Decimal::new(100, 0),
            price: Decimal::new(1250, 2),
            order_id: OrderId { incarnation: 1, number },
        }
    }

    #[test]
    fn the_book_finds_the_newest_orders_and_forgets_the_oldest() {
        let mut book = Book::new(u32::MAX);
        for number in 0..3 * ORDERS_MAX as u64 {
            book.insert(order(number));
        }
        for number in 0..3 * ORDERS_MAX as u64 {
            let wanted = order(number);
            let found = book.find(wanted.session, &wanted.cl_ord_id);
            assert_eq!(found, (number >= 2 * ORDERS_MAX as u64).then_some(&wanted), "order {number}");
        }
    }

    #[test]
    fn names_that_differ_in_a_few_places_spread_over_the_index_by_a_key_of_the_book_s_own() {
        let (book, other) = (Book::new(u32::MAX), Book::new(u32::MAX));
        let mut homes = std::collections::BTreeSet::new();
        let mut alike = 0;
        for number in 0..1024u32 {
            // Bits that a multiplication of 64 bits would drop or carry out at the top.
            let name =
                [b'A' ^ (number << 5) as u8, b'0' + ((number >> 3) & 7) as u8, 1, 2, 3, 4, 5, (number >> 2) as u8, 6];
            let hash = book.hash_of(SessionNumber(1), &name);
            homes.insert(book.home(hash));
            alike += u32::from(hash == other.hash_of(SessionNumber(1), &name));
        }
        assert!(homes.len() > 850, "{} of the 1,024 names have homes of their own", homes.len());
        assert!(alike < 8, "{alike} hashes of two books agree");
    }

    #[test]
    fn a_replaced_order_is_found_under_its_new_name_alone() {
        let mut book = Book::new(u32::MAX);
        (0..1000).for_each(|number| book.insert(order(number)));
        for number in 0..1000 {
            let renamed = Order { cl_ord_id: Text::new(format!("R{number}").as_bytes()).unwrap(), ..order(number) };
            book.replace(&order(number).cl_ord_id, renamed.clone());
            assert_eq!(book.find(renamed.session, &order(number).cl_ord_id), None);
            assert_eq!(book.find(renamed.session, &renamed.cl_ord_id), Some(&renamed));
        }
    }

    #[test]
    fn a_snapshot_read_back_is_the_same_book_and_stays_within_its_bound() {
        let bytes_max = 64 * 1024;
        let mut book = Book::new(bytes_max);
        (0..2000).for_each(|number| book.insert(order(number)));
        let mut state = Vec::new();
        book.write(&mut state);
        assert!(state.len() <= bytes_max as usize, "{} bytes", state.len());
        let mut restored = Book::new(bytes_max);
        restored.read(&state).unwrap();
        for number in 0..2000 {
            let wanted = order(number);
            assert_eq!(
                restored.find(wanted.session, &wanted.cl_ord_id),
                book.find(wanted.session, &wanted.cl_ord_id),
                "order {number}"
            );
        }
    }

    #[test]
    fn a_cut_or_foreign_snapshot_is_refused_without_a_panic() {
        let mut book = Book::new(u32::MAX);
        (0..10).for_each(|number| book.insert(order(number)));
        let mut state = Vec::new();
        book.write(&mut state);
        for length in 0..state.len() {
            assert!(Book::new(u32::MAX).read(&state[..length]).is_err(), "cut at {length}");
        }
        state[0] = 99;
        assert!(Book::new(u32::MAX).read(&state).is_err());
    }
}
