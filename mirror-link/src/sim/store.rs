//! A node's record and its spilled writes: durable after a while, one at a time, the newest standing for those before it.

use std::collections::{BTreeMap, VecDeque};

use crate::block::Payload;
use crate::ids::WriteSeq;
use crate::replica::io::{Input, Record, StoreFailed, StoreWrite};

#[derive(Debug, Default)]
pub struct Store {
    /// What a restart finds.
    pub durable: Option<Record>,
    due: Vec<StoreWrite>,
    newest: Option<Box<Record>>,
    under_way: Option<(Vec<StoreWrite>, Box<Record>)>,
}

impl Store {
    pub fn push(&mut self, write: StoreWrite, record: Box<Record>) {
        self.due.push(write);
        self.newest = Some(record);
    }

    /// True: what is due is under way from now on, and ends some time.
    pub fn begin(&mut self) -> bool {
        if self.under_way.is_some() {
            return false;
        }
        let Some(record) = self.newest.take() else { return false };
        self.under_way = Some((std::mem::take(&mut self.due), record));
        true
    }

    pub fn end(&mut self, result: Result<(), StoreFailed>) -> Vec<Input> {
        let Some((writes, record)) = self.under_way.take() else { return Vec::new() };
        if result.is_ok() {
            self.durable = Some(*record);
        }
        writes.into_iter().map(|write| Input::Stored { write, result }).collect()
    }

    /// The file is replaced whole or not at all.
    pub fn dies(&mut self, replaced: bool) {
        if let Some((_, record)) = self.under_way.take()
            && replaced
        {
            self.durable = Some(*record);
        }
        (self.due, self.newest) = (Vec::new(), None);
    }
}

#[derive(Debug)]
pub enum Order {
    Put(u16, WriteSeq, Payload),
    Get(u16, WriteSeq),
    Trim(WriteSeq),
}

/// The spill file: orders are obeyed one after the other.
#[derive(Debug, Default)]
pub struct Spill {
    writes: BTreeMap<WriteSeq, Payload>,
    orders: VecDeque<Order>,
    under_way: bool,
}

impl Spill {
    pub fn push(&mut self, order: Order) {
        // One stands for those before it.
        if matches!((&order, self.orders.back()), (Order::Trim(_), Some(Order::Trim(_)))) && self.orders.len() > 1 {
            self.orders.pop_back();
        }
        self.orders.push_back(order);
    }

    /// True: the next order is under way from now on.
    pub fn begin(&mut self) -> bool {
        let begun = !self.under_way && !self.orders.is_empty();
        self.under_way |= begun;
        begun
    }

    pub fn end(&mut self, failed: bool) -> Option<Input> {
        self.under_way = false;
        let failure = failed.then_some(StoreFailed);
        match self.orders.pop_front()? {
            Order::Put(run, seq, data) => {
                if failure.is_none() {
                    self.writes.insert(seq, data);
                }
                Some(Input::Spilled { run, seq, result: failure.map_or(Ok(()), Err) })
            }
            Order::Get(run, seq) => {
                let found = self.writes.get(&seq).cloned().ok_or(StoreFailed);
                Some(Input::Unspilled { run, seq, result: failure.map_or(found, Err) })
            }
            Order::Trim(upto) => {
                self.writes.retain(|seq, _| *seq > upto);
                None
            }
        }
    }
}
