package walindex

// Open file description locks. Package syscall doesn't have the constants.
//
// https://man7.org/linux/man-pages/man2/F_OFD_GETLK.2const.html
const (
	ofdGetLock  = 36
	ofdSetLock  = 37
	ofdWaitLock = 38
)
