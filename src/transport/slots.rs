//! A transport's table of connections, whose places are used again.

use super::ConnectionId;

/// Values by [`ConnectionId`]. An identity whose value was taken out finds nothing, whoever has its slot now.
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    /// Of the value, or of the next one where there is none.
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub fn with_capacity(capacity: u32) -> Self {
        Self { slots: Vec::with_capacity(capacity as usize), free: Vec::with_capacity(capacity as usize) }
    }

    /// The identity that the next [`Slots::insert`] returns.
    pub fn next_id(&self) -> ConnectionId {
        let slot = self.free.last().copied().unwrap_or(self.slots.len() as u32);
        ConnectionId::new(slot, self.slots.get(slot as usize).map_or(0, |slot| slot.generation))
    }

    pub fn insert(&mut self, value: T) -> ConnectionId {
        let id = self.next_id();
        self.free.pop();
        match self.slots.get_mut(id.slot()) {
            Some(slot) => slot.value = Some(value),
            None => self.slots.push(Slot { generation: id.generation(), value: Some(value) }),
        }
        id
    }

    #[inline]
    pub fn get(&self, id: ConnectionId) -> Option<&T> {
        let slot = self.slots.get(id.slot())?;
        slot.value.as_ref().filter(|_| slot.generation == id.generation())
    }

    #[inline]
    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.slot())?;
        slot.value.as_mut().filter(|_| slot.generation == id.generation())
    }

    pub fn take(&mut self, id: ConnectionId) -> Option<T> {
        self.get(id)?;
        let slot = &mut self.slots[id.slot()];
        // It may wrap: no list or timer keeps an identity while its slot is used four thousand million times.
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot() as u32);
        slot.value.take()
    }

    pub fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some());
        used.map(|(at, slot)| ConnectionId::new(at as u32, slot.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_identity_finds_nothing_in_a_slot_that_is_used_again() {
        let mut slots = Slots::with_capacity(4);
        let (first, other) = (slots.insert('a'), slots.insert('b'));
        assert_eq!(slots.take(first), Some('a'));
        let second = slots.insert('c');
        assert_eq!(second.slot(), first.slot(), "the slot is used again");
        assert_ne!(second, first);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.take(first), None);
        assert_eq!((slots.get(second), slots.get(other)), (Some(&'c'), Some(&'b')));
        assert_eq!(slots.ids().collect::<Vec<_>>(), [second, other]);
    }

    #[test]
    fn the_next_identity_is_the_one_that_is_given_out() {
        let mut slots = Slots::with_capacity(0);
        for round in 0..5 {
            let next = slots.next_id();
            assert_eq!(slots.insert(round), next);
            if round % 2 == 0 {
                slots.take(next);
            }
        }
    }
}
