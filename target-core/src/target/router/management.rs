//! Task management of one session: its own requests, and the orders that other nexuses' doings send it.

use futures_util::future::abortable;
use iscsi_proto::pdu::{self, TaskManagementFunction, TaskManagementResponseCode};
use iscsi_proto::session::Connection;
use iscsi_proto::types::{InitiatorTaskTag, Lun};

use super::{Afterwards, FinishedTask, Routed, Task, TaskId, TaskRouter, Then, Waiting, respond};
use crate::lu::Reset;
use crate::lu::command::CommandComplete;
use crate::lu::orders::{NexusOrder, Order};
use crate::scsi::sense::Sense;

impl TaskRouter {
    /// RFC 7143 §11.5, RFC 7144 §5. Answered when every task it stops has stopped.
    pub fn task_management(&mut self, request: pdu::TaskManagementRequest, session: &mut Connection) -> Afterwards {
        use TaskManagementFunction as Function;
        use TaskManagementResponseCode as Response;
        let answer = |session: &mut Connection, code, additional| {
            session.respond_task_management(&request, code, additional);
            Afterwards::Nothing
        };
        let extended = [
            Function::QUERY_TASK,
            Function::QUERY_TASK_SET,
            Function::I_T_NEXUS_RESET,
            Function::QUERY_ASYNCHRONOUS_EVENT,
        ];
        if extended.contains(&request.function) && self.protocol_level < PROTOCOL_LEVEL_RFC_7144 {
            return answer(session, Response::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED, [0; 3]);
        }
        let of_lun = [
            Function::ABORT_TASK,
            Function::ABORT_TASK_SET,
            Function::CLEAR_ACA,
            Function::CLEAR_TASK_SET,
            Function::LOGICAL_UNIT_RESET,
            Function::QUERY_TASK,
            Function::QUERY_TASK_SET,
            Function::QUERY_ASYNCHRONOUS_EVENT,
        ];
        let at = self.find(request.lun);
        if at.is_none() && of_lun.contains(&request.function) {
            return answer(session, Response::LUN_DOES_NOT_EXIST, [0; 3]);
        }
        let referenced = request.referenced_task_tag;
        let is_known = session.task_lun(referenced) == Some(request.lun);
        let stopped = match request.function {
            Function::ABORT_TASK if is_known => self.abort_tasks(vec![referenced], session),
            Function::ABORT_TASK => {
                let is_early = session.abort_early(|task, lun| task == referenced && lun == request.lun);
                let code = match is_early || session.abort_unseen(&request) {
                    true => Response::FUNCTION_COMPLETE,
                    false => Response::TASK_DOES_NOT_EXIST,
                };
                return answer(session, code, [0; 3]);
            }
            // TST=001b: a nexus's task set is its own, so clearing it aborts no one else's.
            Function::ABORT_TASK_SET | Function::CLEAR_TASK_SET => {
                self.abort_lun(request.lun.to_u16().unwrap_or(u16::MAX), session)
            }
            Function::LOGICAL_UNIT_RESET => {
                let stopped = self.abort_lun(request.lun.to_u16().unwrap_or(u16::MAX), session);
                return self.reset(at.into_iter().collect(), stopped, request, session);
            }
            Function::TARGET_WARM_RESET | Function::TARGET_COLD_RESET => {
                let stopped = self.abort_all(session);
                return self.reset((0..self.slots.len()).collect(), stopped, request, session);
            }
            Function::I_T_NEXUS_RESET => {
                let stopped = self.abort_all(session);
                self.slots.iter().for_each(|slot| slot.itl.nexus_reset());
                stopped
            }
            Function::QUERY_TASK => {
                let code = if is_known { Response::FUNCTION_SUCCEEDED } else { Response::FUNCTION_COMPLETE };
                return answer(session, code, [0; 3]);
            }
            Function::QUERY_TASK_SET => {
                let any = session.task_tags().into_iter().any(|tag| session.task_lun(tag) == Some(request.lun));
                let code = if any { Response::FUNCTION_SUCCEEDED } else { Response::FUNCTION_COMPLETE };
                return answer(session, code, [0; 3]);
            }
            Function::QUERY_ASYNCHRONOUS_EVENT => {
                let event = at.and_then(|at| self.slots[at].itl.query_async_event());
                return match event {
                    Some(information) => answer(session, Response::FUNCTION_SUCCEEDED, information),
                    None => answer(session, Response::FUNCTION_COMPLETE, [0; 3]),
                };
            }
            Function::TASK_REASSIGN => {
                return answer(session, Response::TASK_ALLEGIANCE_REASSIGNMENT_NOT_SUPPORTED, [0; 3]);
            }
            // CLEAR ACA among them: no ACA condition is ever established here.
            _ => return answer(session, Response::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED, [0; 3]),
        };
        let then = Then::Respond { request, then_end: false };
        self.waiting.push(Waiting { tasks: stopped, let_go: None, then });
        self.settle_waiting(session)
    }

    /// Reset units; the others' tasks on them end first.
    fn reset(
        &mut self,
        slots: Vec<usize>,
        stopped: Vec<TaskId>,
        request: pdu::TaskManagementRequest,
        session: &mut Connection,
    ) -> Afterwards {
        let reset = match request.function {
            TaskManagementFunction::LOGICAL_UNIT_RESET => Reset::LogicalUnit,
            _ => Reset::Target,
        };
        let then_end = request.function == TaskManagementFunction::TARGET_COLD_RESET;
        self.next_id += 1;
        let id = self.next_id;
        let resets: Vec<_> = slots.into_iter().map(|at| self.slots[at].itl.reset(reset)).collect();
        // The resets are one more running task to wait for; it has no tag that a command could have.
        let (reset, let_go) = abortable(futures_util::future::join_all(resets));
        self.running.push(Box::pin(async move {
            // Let go, it is over as well.
            let _ = reset.await;
            FinishedTask { id, task: InitiatorTaskTag::RESERVED, complete: None, data_in_length: 0 }
        }));
        let tasks = stopped.into_iter().chain([id]).collect();
        self.waiting.push(Waiting { tasks, let_go: Some(let_go), then: Then::Respond { request, then_end } });
        self.settle_waiting(session)
    }

    /// Another nexus's doing (a reset, PREEMPT AND ABORT) stops our tasks on a unit.
    pub fn order(&mut self, order: Order, session: &mut Connection) -> Afterwards {
        let NexusOrder::AbortTasks { done } = order.order;
        let tasks = self.abort_lun(order.lun as u16, session);
        self.waiting.push(Waiting { tasks, let_go: None, then: Then::Release(done) });
        self.settle_waiting(session)
    }

    pub(super) fn abort_all(&mut self, session: &mut Connection) -> Vec<TaskId> {
        session.abort_early(|_, _| true);
        self.abort_tasks(session.task_tags(), session)
    }

    fn abort_lun(&mut self, lun: u16, session: &mut Connection) -> Vec<TaskId> {
        session.abort_early(|_, of| of.to_u16() == Some(lun));
        self.abort_tasks(tags_of(lun, session), session)
    }

    /// The LUN is gone: what runs ends as it may, the rest is told.
    pub(super) fn end_lun(&mut self, lun: u16, session: &mut Connection) {
        for tag in tags_of(lun, session) {
            if let Some(Task { state: Routed::Running { .. }, .. }) = self.tasks.get(&tag) {
                continue;
            }
            // Those that are not here yet will find no such LUN.
            if self.take_out(tag).is_some() {
                let gone = CommandComplete::check_condition(Sense::logical_unit_not_supported());
                respond(session, tag, gone, None);
            }
        }
    }

    /// No response will come of them. Returns those that run on until the device lets go of them.
    fn abort_tasks(&mut self, tags: Vec<InitiatorTaskTag>, session: &mut Connection) -> Vec<TaskId> {
        let mut running = Vec::new();
        for tag in tags {
            session.abort(tag);
            let Some(task) = self.take_out(tag) else { continue };
            if let Routed::Running { id, let_go, .. } = task.state {
                running.push(id);
                if let Some(handle) = let_go {
                    handle.abort();
                }
            }
            self.finished(task.lun, tag, session);
        }
        running
    }

    /// For a task that ends before its time.
    pub(super) fn take_out(&mut self, tag: InitiatorTaskTag) -> Option<Task> {
        self.starved.retain(|starved| *starved != tag);
        self.tasks.remove(&tag)
    }

    pub(super) fn settle_waiting(&mut self, session: &mut Connection) -> Afterwards {
        let mut afterwards = Afterwards::Nothing;
        // In order: "the target … MUST … respond … in the order received" holds for management of one task set.
        while let Some(first) = self.waiting.iter().position(|waiting| waiting.tasks.is_empty()) {
            match self.waiting.remove(first).then {
                // Who ordered may be gone; then no one waits.
                Then::Release(done) => drop(done.send(())),
                Then::Respond { request, then_end } => {
                    session.respond_task_management(&request, TaskManagementResponseCode::FUNCTION_COMPLETE, [0; 3]);
                    if then_end {
                        afterwards = Afterwards::EndSessionsOfTarget;
                    }
                }
            }
        }
        afterwards
    }
}

fn tags_of(lun: u16, session: &Connection) -> Vec<InitiatorTaskTag> {
    let mut tags = session.task_tags();
    tags.retain(|tag| session.task_lun(*tag).and_then(Lun::to_u16) == Some(lun));
    tags
}

/// iSCSIProtocolLevel from which RFC 7144's functions are in force.
const PROTOCOL_LEVEL_RFC_7144: u8 = 2;
