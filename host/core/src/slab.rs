//! Entities by index, in pages: growing moves nothing, so ten million of them never need room twice.

use crate::entity::Entity;

const PAGE_BITS: u32 = 10;
const PAGE: usize = 1 << PAGE_BITS;

/// Entities by index; free places are used again.
#[derive(Debug, Default)]
pub struct Slab {
    pages: Vec<Vec<Entity>>,
    free: Vec<u32>,
    len: usize,
}

impl Slab {
    /// Adds an entity and tells its index.
    pub fn insert(&mut self, entity: Entity) -> u32 {
        if let Some(index) = self.free.pop() {
            self[index] = entity;
            return index;
        }
        let index = self.len as u32;
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages[self.len >> PAGE_BITS].push(entity);
        self.len += 1;
        index
    }

    /// Makes the place of an entity free.
    pub fn remove(&mut self, index: u32) {
        self[index] = Entity::new(0, "");
        self.free.push(index);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, and where they are.
    pub fn known(&self) -> impl Iterator<Item = (u32, &Entity)> {
        let mut free = self.free.clone();
        free.sort_unstable();
        (0..).zip(self.iter()).filter(move |(index, _)| free.binary_search(index).is_err())
    }

    /// All of them, and the free places.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.pages.iter().flatten()
    }
}

impl std::ops::Index<u32> for Slab {
    type Output = Entity;
    fn index(&self, index: u32) -> &Entity {
        &self.pages[(index >> PAGE_BITS) as usize][index as usize & (PAGE - 1)]
    }
}

impl std::ops::IndexMut<u32> for Slab {
    fn index_mut(&mut self, index: u32) -> &mut Entity {
        &mut self.pages[(index >> PAGE_BITS) as usize][index as usize & (PAGE - 1)]
    }
}
