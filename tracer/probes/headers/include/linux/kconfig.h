/* The one kernel option that BCC's helpers ask for. */
#define CONFIG_BPF_SYSCALL 1
