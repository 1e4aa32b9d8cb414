"""What pages need beside their text: colours, fonts, and the picture in the README."""
