// user-mode-linux 6.1 keeps 2696 bytes of extended processor state per process. A host whose processor has AMX reports more,
// and refuses to set less than all of it (EFAULT): the guest dies with "ptrace set fp regs failed, errno = 14".
// Preloaded, this makes each such set a read-modify-write: what the guest gave goes over the first bytes of the whole state,
// and the whole is written back, with only the components that the guest knows marked as present.
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define NT_X86_XSTATE 0x202
#define XSTATE_HEADER 512                // the XSAVE header follows the 512 bytes of FXSAVE; it begins with XSTATE_BV
#define XSTATE_SIZE_MAX (64 * 1024)      // AMX needs some 11 KiB
static const uint64_t guest_knows = 0x2ff; // x87, SSE, AVX, MPX (2), AVX-512 (3), PKRU

static long set_xstate(pid_t pid, struct iovec *given) {
  static __thread unsigned char state[XSTATE_SIZE_MAX] __attribute__((aligned(64)));
  struct iovec whole = {.iov_base = state, .iov_len = sizeof state};
  if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &whole) < 0) return -1;
  if (given->iov_len >= whole.iov_len) return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, given);
  memcpy(state, given->iov_base, given->iov_len);
  uint64_t present;
  memcpy(&present, state + XSTATE_HEADER, sizeof present);
  present &= guest_knows;
  memcpy(state + XSTATE_HEADER, &present, sizeof present);
  return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...) {
  va_list rest;
  va_start(rest, request);
  pid_t pid = va_arg(rest, pid_t);
  void *address = va_arg(rest, void *);
  void *data = va_arg(rest, void *);
  va_end(rest);
  if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) return set_xstate(pid, data);
  if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
    long word; // the system call stores the word, the library function returns it
    if (syscall(SYS_ptrace, request, pid, address, &word) < 0) return -1;
    errno = 0;
    return word;
  }
  return syscall(SYS_ptrace, request, pid, address, data);
}
