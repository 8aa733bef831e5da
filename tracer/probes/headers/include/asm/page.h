/* BCC only declares a buffer of this size; the programs here do not use it. */
#define PAGE_SIZE 4096
