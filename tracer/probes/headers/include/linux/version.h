/* Only kernels before 5.0 check a program's version; those have no BPF ring buffer anyway. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
