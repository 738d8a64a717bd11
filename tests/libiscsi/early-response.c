// libiscsi 1.19.0's iSCSITMF.LUNResetSimpleAsync cannot pass against any target: it asserts that the answer to LOGICAL UNIT
// RESET has come right after queueing the request, before anything was received (mended upstream in 2020). In a whole run it
// hides that by a silent skip: the test before it has destroyed the session. This preload lets the one test run alone and
// whole: the request is sent and the real answer received before the queueing call returns.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>

struct iscsi_context;
typedef void (*command_cb)(struct iscsi_context *, int status, void *command_data, void *private_data);

int iscsi_get_fd(struct iscsi_context *);
int iscsi_which_events(struct iscsi_context *);
int iscsi_service(struct iscsi_context *, int revents);

static command_cb asked;
static int answered;

static void note_answer(struct iscsi_context *iscsi, int status, void *command_data, void *private_data) {
  answered = 1;
  asked(iscsi, status, command_data, private_data);
}

int iscsi_task_mgmt_async(struct iscsi_context *iscsi, int lun, int function, uint32_t ritt, uint32_t rcmdsn, command_cb cb,
                          void *private_data) {
  int (*real)(struct iscsi_context *, int, int, uint32_t, uint32_t, command_cb, void *) = dlsym(RTLD_NEXT, "iscsi_task_mgmt_async");
  asked = cb;
  answered = 0;
  int ret = real(iscsi, lun, function, ritt, rcmdsn, note_answer, private_data);
  for (time_t end = time(NULL) + 5; ret == 0 && !answered && time(NULL) < end;) {
    struct pollfd pfd = {.fd = iscsi_get_fd(iscsi), .events = iscsi_which_events(iscsi)};
    if (poll(&pfd, 1, 1000) < 0 || iscsi_service(iscsi, pfd.revents)) break;
  }
  return ret;
}
